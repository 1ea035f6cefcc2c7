"""Queues for what every worker is to run."""

from __future__ import annotations

import os
from typing import Any

from umbel.model import Exchange, Queue
from umbel.routing.queues import as_exchange

__all__ = ["Broadcast"]


def Broadcast(  # noqa: N802 - kombu's name
    name: str,
    queue: str | None = None,
    unique: bool = False,
    auto_delete: bool = True,
    exchange: Any = None,
    alias: str | None = None,
    **options: Any,
) -> Queue:
    """A queue of this process alone, bound to an exchange that copies every message to each.

    Tasks are sent to it, and workers select it, by ``name``.

    Args:
        queue: The queue's own name; a random one by default.
        unique: Whether ``queue`` is only how its random name begins.
        exchange: Instead of a fanout exchange called ``name``.
        options: More fields of the queue.

    >>> reload = Broadcast("reload")
    >>> reload.alias, reload.exchange.type, reload.name.startswith("bcast.")
    ('reload', 'fanout', True)
    """
    own = queue or "bcast"
    if unique or not queue:
        own = f"{own}.{os.urandom(16).hex()}"
    return Queue(
        own,
        as_exchange(exchange) or Exchange(name, "fanout"),
        auto_delete=auto_delete,
        alias=alias or name,
        **options,
    )
