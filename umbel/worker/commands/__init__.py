"""Remote control: what workers can be told and asked."""

from umbel.worker.commands import events, inspect, pool, queues, tasks
from umbel.worker.commands.registry import Panel, control_command, inspect_command

__all__ = [
    "Panel",
    "control_command",
    "events",
    "inspect",
    "inspect_command",
    "pool",
    "queues",
    "tasks",
]
