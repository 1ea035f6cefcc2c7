"""What only ``celery.worker`` has."""
