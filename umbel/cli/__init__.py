"""What people start: the ``umbel`` command."""
