"""Small tools under the names that Celery documents (``celery.utils``)."""
