"""Listening to a fan-out for as long as a service runs, through outages of the broker."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import NoReturn

from umbel.exceptions import BrokerUnavailable, OperationalError
from umbel.model import Message, Queue
from umbel.protocols import Clock, Fanout

__all__ = ["keep_listening"]

_PAUSE = 5.0
"""Seconds between two attempts to listen, at most."""


async def keep_listening(
    fanout: Fanout,
    queue: Queue,
    hear: Callable[[Message], Awaitable[object]],
    *,
    clock: Clock,
    deaf: Callable[[Exception], object],
    listening: Callable[[], object] = lambda: None,
) -> NoReturn:
    """Await ``hear`` with each message, one after the other, until cancelled.

    Args:
        deaf: Called with the reason whenever the broker is away; it is tried again.
        listening: Called whenever messages begin to come.
    """
    while True:
        try:
            await fanout.open()
            async with fanout.listen([queue]) as stream:
                listening()
                async for messages in stream:
                    for message in messages:
                        await hear(message)
        except (BrokerUnavailable, OperationalError) as error:
            deaf(error)
        # Not all listeners of all programs at once.
        await clock.sleep(random.uniform(_PAUSE / 2, _PAUSE))  # noqa: S311 - spreads load
