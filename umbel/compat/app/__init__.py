"""What only ``celery.app`` has."""
