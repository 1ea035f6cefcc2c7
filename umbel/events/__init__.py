"""``celery.events``: the stream of what workers and clients say."""
