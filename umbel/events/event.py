"""One event, and where events go.

Source:
    Celery reference, ``celery.events.event``: names and forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umbel.clock import SystemClock
from umbel.model import Exchange
from umbel.wire.events import exchange_of, group_of

__all__ = ["Event", "event_exchange", "get_exchange", "group_from"]

_CLOCK = SystemClock()

event_exchange: Exchange = exchange_of("celeryev")
"""The exchange of events unless ``event_exchange`` says otherwise."""

group_from = group_of


def Event(  # noqa: N802 - Celery's name
    type: str, _fields: Mapping[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """An event: a dictionary with a type and a moment.

    >>> Event("task-custom", uuid="a", timestamp=1.0)
    {'uuid': 'a', 'timestamp': 1.0, 'type': 'task-custom'}
    """
    event = {**(_fields or {}), **fields}
    event.setdefault("timestamp", _CLOCK.time())
    event["type"] = type
    return event


def get_exchange(conn: object = None, name: str = "celeryev") -> Exchange:  # noqa: ARG001
    """The exchange of events called ``name``; a connection makes no difference."""
    return exchange_of(name)
