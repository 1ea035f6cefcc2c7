"""What only ``celery.utils`` has: names that umbel itself has no use for."""
