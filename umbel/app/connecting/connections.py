"""The clients of an app: a broker, a result backend, a fan-out for each event loop that asks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from umbel.exceptions import BackendUnavailable, BrokerUnavailable

if TYPE_CHECKING:
    import asyncio

    from umbel.protocols import Broker, Fanout, ResultBackend, ScheduleStore

__all__ = ["Connections"]


class _Clients:
    """What one loop uses."""

    __slots__ = ("backend", "broker", "fanout", "opening", "schedules")

    def __init__(self, opening: asyncio.Lock) -> None:
        self.broker: Broker | None = None
        self.backend: ResultBackend | None = None
        self.fanout: Fanout | None = None
        self.schedules: ScheduleStore | None = None
        self.opening = opening


class Connections:
    """Opens a client when a loop first needs it, and closes them all with the app."""

    def __init__(
        self,
        make_broker: Callable[[], Broker],
        make_backend: Callable[[], ResultBackend],
        make_fanout: Callable[[], Fanout],
        make_schedules: Callable[[Broker | None], ScheduleStore | None],
    ) -> None:
        self._make_broker = make_broker
        self._make_backend = make_backend
        self._make_fanout = make_fanout
        self._make_schedules = make_schedules
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

    async def fanout(self) -> Fanout:
        """The running loop's fan-out, open."""
        clients = self._clients()
        if clients.fanout is None:
            async with clients.opening:
                if clients.fanout is None:
                    fanout = self._make_fanout()
                    await fanout.open()
                    clients.fanout = fanout
        return clients.fanout

    async def schedules(self) -> ScheduleStore:
        """Where periodic tasks are kept, open: the broker, or a place of its own."""
        clients = self._clients()
        if clients.schedules is None:
            found = self._make_schedules(None) or self._make_schedules(await self.broker())
            assert found is not None, "there is a file where the broker keeps none"
            async with clients.opening:
                if clients.schedules is None:
                    await found.open()
                    clients.schedules = found
        return clients.schedules

    async def close(self) -> None:
        """Close the running loop's clients, reachable or not; the next use opens new ones."""
        clients = self._clients()
        async with clients.opening:
            broker, backend, fanout = clients.broker, clients.backend, clients.fanout
            schedules = clients.schedules
            clients.broker = clients.backend = clients.fanout = clients.schedules = None
        for client in (fanout, schedules, broker, backend):
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
