"""``celery.worker.control``: the commands of remote control, and the way to add one's own."""

from umbel.worker.commands.registry import Panel, control_command, inspect_command

__all__ = ["Panel", "control_command", "inspect_command"]
