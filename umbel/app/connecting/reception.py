"""Messages that are no tasks, from when they are received until they are settled: on one loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, Protocol

from umbel.exceptions import BrokerUnavailable
from umbel.model import Delivery, Queue
from umbel.protocols import Broker, Clock, Pushes

__all__ = ["AT_ONCE", "Insist", "Reception", "once"]

AT_ONCE = 10
"""Messages at a time, unless it is said how many."""

_ARRIVAL = 0.3
"""Seconds that a message takes at most which the server has and sends by itself."""

_WAIT = 5.0
"""Seconds one ``receive`` waits for a first message before it is asked again."""


class Insist(Protocol):
    """Calls a driver: as often as whoever receives has patience for."""

    def __call__(
        self, function: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
    ) -> Awaitable[Any]:
        """Await ``function(…)``."""
        ...


async def once(function: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
    """Without patience: what cannot be reached is the caller's affair."""
    return await function(*args, **kwargs)


class Reception:
    """Receives from some queues, on a connection of its own, and holds on to what it has received
    until that is settled. What it has when it ends goes back.

    Args:
        broker: Not opened yet; is closed in the end.
        take: Called with each message that can be read; must not block. The others are dropped
            among the dead letters.
        limit: How many messages it has at most; 0: only what :meth:`get` asks for.
    """

    def __init__(
        self,
        broker: Broker,
        queues: Sequence[Queue],
        clock: Clock,
        take: Callable[[Delivery], None],
        *,
        limit: int = AT_ONCE,
        insist: Insist = once,
    ) -> None:
        self._broker = broker
        self._queues = queues
        self._clock = clock
        self._take = take
        self._limit = min(limit, broker.capabilities.batch_limit)
        self._insist = insist
        self._held: dict[str, Delivery] = {}
        self._settled: list[tuple[Delivery, bool | None]] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._has_ended = asyncio.Event()
        self._room = asyncio.Event()
        self._over = asyncio.Event()
        self.opened = asyncio.Event()
        self._receiving: asyncio.Task[None] | None = None
        self._is_retired = False

    async def run(self) -> None:
        """Receive until cancelled, or retired and done.

        Raises:
            BrokerUnavailable: As often as ``insist`` has it.
        """
        await self._insist(self._broker.open)
        try:
            await self._insist(self._broker.declare, self._queues)
            self.opened.set()
            async with asyncio.TaskGroup() as group:
                caring = [group.create_task(self._renew()), group.create_task(self._settle())]
                if not self._is_retired:
                    self._receiving = group.create_task(self._receive())
                await self._over.wait()
                for task in caring:
                    task.cancel()
        except* BrokerUnavailable as errors:
            raise errors.exceptions[0] from None
        finally:
            try:
                await self._give_back()
            finally:
                await self._broker.close()

    async def get(self, queue: str) -> Delivery | None:
        """Take one message, if there is any.

        Raises:
            BrokerUnavailable: As often as ``insist`` has it.
        """
        broker = self._broker
        await self._insist(broker.open)
        wait = _ARRIVAL if isinstance(broker, Pushes) else 0.0
        found: list[Delivery] = await self._insist(broker.receive, [queue], limit=1, wait=wait)
        if isinstance(broker, Pushes):
            await broker.rest()
        for delivery in found:
            if delivery.defect is None:
                self._held[delivery.tag] = delivery
                return delivery
            await self._insist(broker.nack, [delivery], requeue=False)
        return None

    async def retire(self, keep: Collection[str]) -> None:
        """Receive no more. What is kept (tags) is held until it is settled; the rest goes back."""
        self._is_retired = True
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.wait([self._receiving])
        back = [delivery for tag, delivery in self._held.items() if tag not in keep]
        for delivery in back:
            del self._held[delivery.tag]
        if not self._held:
            self._over.set()
        # Who cannot be reached has them back, or soon will.
        with suppress(BrokerUnavailable):
            await self._broker.nack(back, requeue=True)

    def end(self, delivery: Delivery, requeue: bool | None) -> asyncio.Future[None]:
        """Acknowledge (None), drop (False) or give back (True) a message, soon: the future says
        when, or why not."""
        done = asyncio.get_running_loop().create_future()
        self._settled.append((delivery, requeue))
        self._waiting.append(done)
        self._has_ended.set()
        return done

    async def _receive(self) -> None:
        names = [queue.name for queue in self._queues]
        while True:
            room = self._limit - len(self._held)
            if room <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            receive = self._broker.receive
            for delivery in await self._insist(receive, names, limit=room, wait=_WAIT):
                self._held[delivery.tag] = delivery
                if delivery.defect is None:
                    self._take(delivery)
                else:
                    self.end(delivery, requeue=False)

    async def _renew(self) -> None:
        lease = self._broker.capabilities.lease
        while lease is not None:
            await self._clock.sleep(lease / 3)
            # Two more rounds fit into a lease.
            with suppress(BrokerUnavailable):
                for lost in await self._broker.extend(list(self._held.values()), lease=lease):
                    self._held.pop(lost.tag, None)
                    self._room.set()

    async def _settle(self) -> None:
        while True:
            await self._has_ended.wait()
            await self._settle_all()

    async def _settle_all(self) -> None:
        self._has_ended.clear()
        settled, self._settled = self._settled, []
        waiting, self._waiting = self._waiting, []
        try:
            for requeue in (None, True, False):
                ended = [delivery for delivery, verdict in settled if verdict is requeue]
                if ended and requeue is None:
                    await self._insist(self._broker.ack, ended)
                elif ended:
                    await self._insist(self._broker.nack, ended, requeue=requeue)
        except BaseException as error:
            for done in waiting:
                if not done.done():
                    done.set_exception(error)
                    # Whoever does not wait for it hears of it from us.
                    done.exception()
            raise
        for delivery, _ in settled:
            self._held.pop(delivery.tag, None)
        for done in waiting:
            if not done.done():
                done.set_result(None)
        self._room.set()
        if self._is_retired and not self._held:
            self._over.set()

    async def _give_back(self) -> None:
        # Who cannot be reached has everything back, or soon will.
        with suppress(BrokerUnavailable):
            if self._settled:
                await self._settle_all()
            await self._broker.nack(list(self._held.values()), requeue=True)
