"""Exceptions raised inside greenlets that run tasks."""

from __future__ import annotations

from typing import Any

from umbel.model import Request
from umbel.pools.green.hubs import Hub
from umbel.protocols import Receiver

__all__ = ["GreenInterrupts"]


class GreenInterrupts:
    """Throws exceptions into greenlets where they wait, as gevent's and eventlet's own timeouts
    are. One that does not wait, because it computes, holds up all others and this as well."""

    every = True

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._greenlet_by_key: dict[int, Any] = {}
        self._key_by_greenlet: dict[Any, int] = {}

    def begin(self, request: Request) -> None:
        """Exceptions may be thrown into this greenlet from now on."""
        greenlet = self._hub.current()
        self._greenlet_by_key[request.key] = greenlet
        self._key_by_greenlet[greenlet] = request.key

    def end(self) -> None:
        """Nothing is thrown into this greenlet any more."""
        key = self._key_by_greenlet.pop(self._hub.current(), None)
        if key is not None:
            del self._greenlet_by_key[key]

    def divert(self, receiver: Receiver | None) -> None:
        """Nothing to do: a loop inside a greenlet waits as the greenlet does."""

    def interrupt(self, key: int, error: BaseException) -> None:
        """Throw ``error`` into the request's greenlet, if user code runs there."""
        self._hub.from_outside(self._throw, key, error)

    def _throw(self, key: int, error: BaseException) -> None:
        # Looked up here, where no greenlet runs: since the interruption was ordered it may have
        # come to its end.
        greenlet = self._greenlet_by_key.get(key)
        if greenlet is not None:
            greenlet.throw(error)
