"""What umbel costs, beside Celery and its peers. Run with ``make bench`` or one by one."""
