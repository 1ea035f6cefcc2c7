"""Bytes to values and back, exactly as Celery writes them; pure functions."""
