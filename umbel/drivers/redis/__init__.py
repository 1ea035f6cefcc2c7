"""Redis: broker, result backend and fan-out, in the layout of kombu and Celery."""
