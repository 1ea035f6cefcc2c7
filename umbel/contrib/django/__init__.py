"""For tasks of Django projects."""
