"""``celery.platforms``: the machine, users, signals, and processes in the background."""
