"""Old doors: Celery's module paths, for those who ask for them."""
