"""Running tasks: ``celery.worker``."""

from umbel.worker.worker import Worker

WorkController = Worker
"""Celery's name for it."""

__all__ = ["WorkController", "Worker"]
