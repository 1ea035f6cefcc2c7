"""What commands that were made for Celery's command line are made of."""
