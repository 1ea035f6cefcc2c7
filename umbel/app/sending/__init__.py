"""A task's way out: options become a call, calls become messages."""
