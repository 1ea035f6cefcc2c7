"""Periodic tasks, as an app has them: told by its code, changed while schedulers run, kept."""
