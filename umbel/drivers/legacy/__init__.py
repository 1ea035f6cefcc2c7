"""Result backends made for Celery, served as umbel's."""
