"""The clients of an app: one broker and one result backend for each event loop that asks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from umbel.exceptions import BackendUnavailable, BrokerUnavailable

if TYPE_CHECKING:
    import asyncio

    from umbel.protocols import Broker, ResultBackend

__all__ = ["Connections"]


class _Clients:
    """What one loop uses."""

    __slots__ = ("backend", "broker", "opening")

    def __init__(self, opening: asyncio.Lock) -> None:
        self.broker: Broker | None = None
        self.backend: ResultBackend | None = None
        self.opening = opening


class Connections:
    """Opens a client when a loop first needs it, and closes them all with the app."""

    def __init__(
        self, make_broker: Callable[[], Broker], make_backend: Callable[[], ResultBackend]
    ) -> None:
        self._make_broker = make_broker
        self._make_backend = make_backend
        self._clients_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Clients] = (
            WeakKeyDictionary()
        )

    async def broker(self) -> Broker:
        """The running loop's broker, open."""
        clients = self._clients()
        if clients.broker is None:
            async with clients.opening:
                if clients.broker is None:
                    broker = self._make_broker()
                    await broker.open()
                    clients.broker = broker
        return clients.broker

    async def backend(self) -> ResultBackend:
        """The running loop's result backend, open."""
        clients = self._clients()
        if clients.backend is None:
            async with clients.opening:
                if clients.backend is None:
                    backend = self._make_backend()
                    await backend.open()
                    clients.backend = backend
        return clients.backend

    async def close(self) -> None:
        """Close the running loop's clients, reachable or not; the next use opens new ones."""
        clients = self._clients()
        async with clients.opening:
            broker, backend = clients.broker, clients.backend
            clients.broker = clients.backend = None
        for client in (broker, backend):
            if client is not None:
                # Who cannot be reached has nothing left to close.
                with suppress(BrokerUnavailable, BackendUnavailable):
                    await client.close()

    def _clients(self) -> _Clients:
        # Only called on a running loop, which has imported asyncio long before.
        import asyncio

        loop = asyncio.get_running_loop()
        clients = self._clients_by_loop.get(loop)
        if clients is None:
            clients = self._clients_by_loop[loop] = _Clients(asyncio.Lock())
        return clients
