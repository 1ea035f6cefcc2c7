"""Drivers that fail at a chosen call, and calls that are cancelled at a chosen await.

::

    plan = FaultPlan()
    plan.on("ack", 2, applied_then_raising(BrokerUnavailable("the wire was cut")))
    broker = faulty_broker(broker, plan)

    await interrupted(broker.receive(["q"], limit=1, wait=0), at=1)
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Literal, TypeVar

from umbel.model import (
    Arrival,
    Delivery,
    Expected,
    FullChord,
    GroupRecord,
    Message,
    Queue,
    QueueStats,
    ResultRecord,
    Settlement,
)
from umbel.protocols import Broker, Capabilities, Clock, Compose, ResultBackend, Transactional

__all__ = [
    "Effect",
    "FaultPlan",
    "FaultyBackend",
    "FaultyBroker",
    "FaultyTransactionalBroker",
    "applied_then_raising",
    "cancelling",
    "delayed",
    "faulty_broker",
    "interrupted",
    "raising",
]

T = TypeVar("T")

Effect = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""What happens instead of a call; gets the call, and decides whether and when it is made."""


def raising(error: Exception) -> Effect:
    """Fails; nothing has happened."""

    async def effect(_: Callable[[], Awaitable[Any]]) -> Any:
        raise error

    return effect


def applied_then_raising(error: Exception) -> Effect:
    """Does it and fails: the confirmation was lost."""

    async def effect(call: Callable[[], Awaitable[Any]]) -> Any:
        await call()
        raise error

    return effect


def delayed(seconds: float, clock: Clock) -> Effect:
    """Does it, later."""

    async def effect(call: Callable[[], Awaitable[Any]]) -> Any:
        await clock.sleep(seconds)
        return await call()

    return effect


def cancelling() -> Effect:
    """Cancels whoever calls; nothing has happened."""

    async def effect(call: Callable[[], Awaitable[Any]]) -> Any:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return await call()

    return effect


class FaultPlan:
    """Which calls of which methods fail, and how; shared by any number of faulty drivers."""

    def __init__(self) -> None:
        self._effects: dict[tuple[str, int], Effect] = {}
        self._always: dict[str, Effect] = {}
        self._calls: dict[str, int] = {}

    def on(self, method: str, call: int, effect: Effect) -> None:
        """Let the ``call``-th call of ``method``, counted from 1, end in ``effect``."""
        self._effects[method, call] = effect

    def always(self, method: str, effect: Effect | None) -> None:
        """Let every call of ``method`` end in ``effect``; None: no longer."""
        if effect is None:
            self._always.pop(method, None)
        else:
            self._always[method] = effect

    def calls(self, method: str) -> int:
        """How often ``method`` has been called."""
        return self._calls.get(method, 0)

    async def run(self, method: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, or what the plan has instead."""
        count = self._calls[method] = self.calls(method) + 1
        effect = self._effects.get((method, count)) or self._always.get(method)
        if effect is None:
            return await call()
        result: T = await effect(call)
        return result


class FaultyBroker:
    """A broker whose calls go by a plan."""

    def __init__(self, inner: Broker, plan: FaultPlan) -> None:
        self.inner = inner
        self.plan = plan

    @property
    def capabilities(self) -> Capabilities:
        """The inner broker's."""
        return self.inner.capabilities

    async def open(self) -> None:
        """See :class:`umbel.protocols.Broker`, here and below."""
        await self.plan.run("open", self.inner.open)

    async def close(self) -> None:
        await self.plan.run("close", self.inner.close)

    async def declare(self, queues: Sequence[Queue]) -> None:
        await self.plan.run("declare", lambda: self.inner.declare(queues))

    async def publish(self, messages: Sequence[Message]) -> None:
        await self.plan.run("publish", lambda: self.inner.publish(messages))

    async def receive(self, queues: Sequence[str], *, limit: int, wait: float) -> list[Delivery]:
        return await self.plan.run(
            "receive", lambda: self.inner.receive(queues, limit=limit, wait=wait)
        )

    async def begin(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        return await self.plan.run("begin", lambda: self.inner.begin(deliveries))

    async def start(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        return await self.plan.run("start", lambda: self.inner.start(deliveries))

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        return await self.plan.run("ack", lambda: self.inner.ack(deliveries))

    async def nack(
        self,
        deliveries: Sequence[Delivery],
        *,
        requeue: bool = True,
        delay: float = 0.0,
        counts: bool = False,
        reason: str = "",
    ) -> list[Delivery]:
        return await self.plan.run(
            "nack",
            lambda: self.inner.nack(
                deliveries, requeue=requeue, delay=delay, counts=counts, reason=reason
            ),
        )

    async def extend(self, deliveries: Sequence[Delivery], *, lease: float) -> list[Delivery]:
        return await self.plan.run("extend", lambda: self.inner.extend(deliveries, lease=lease))

    async def purge(self, queues: Sequence[str]) -> int:
        return await self.plan.run("purge", lambda: self.inner.purge(queues))

    async def stats(self, queues: Sequence[str]) -> dict[str, QueueStats]:
        return await self.plan.run("stats", lambda: self.inner.stats(queues))


class FaultyTransactionalBroker(FaultyBroker):
    """A broker that commits together with a result backend, by a plan."""

    def __init__(self, inner: Broker, together: Transactional, plan: FaultPlan) -> None:
        super().__init__(inner, plan)
        self._together = together

    def commits_with(self, backend: ResultBackend) -> bool:
        """Whether the inner broker does; a faulty backend stands for the one inside."""
        inner = backend.inner if isinstance(backend, FaultyBackend) else backend
        return self._together.commits_with(inner)

    async def settle(
        self, settlements: Sequence[Settlement], *, compose: Compose
    ) -> list[Delivery]:
        """See :class:`umbel.protocols.Transactional`."""
        return await self.plan.run(
            "settle", lambda: self._together.settle(settlements, compose=compose)
        )


def faulty_broker(broker: Broker, plan: FaultPlan) -> FaultyBroker:
    """The broker behind a plan; what it can do by itself stays the same."""
    if isinstance(broker, Transactional):
        return FaultyTransactionalBroker(broker, broker, plan)
    return FaultyBroker(broker, plan)


class FaultyBackend:
    """A result backend whose calls go by a plan."""

    def __init__(self, inner: ResultBackend, plan: FaultPlan) -> None:
        self.inner = inner
        self.plan = plan

    @property
    def counts_chords(self) -> bool:
        """The inner backend's."""
        return self.inner.counts_chords

    async def open(self) -> None:
        """See :class:`umbel.protocols.ResultBackend`, here and below."""
        await self.plan.run("open", self.inner.open)

    async def close(self) -> None:
        await self.plan.run("close", self.inner.close)

    async def store(self, records: Sequence[ResultRecord]) -> None:
        await self.plan.run("store", lambda: self.inner.store(records))

    async def load(self, ids: Sequence[str]) -> dict[str, ResultRecord]:
        return await self.plan.run("load", lambda: self.inner.load(ids))

    async def forget(self, ids: Sequence[str]) -> None:
        await self.plan.run("forget", lambda: self.inner.forget(ids))

    def watch(
        self, ids: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[list[ResultRecord]]]:
        """The inner backend's; watching has no faults of its own."""
        return self.inner.watch(ids)

    async def expect(self, expected: Sequence[Expected]) -> None:
        """See :class:`umbel.protocols.ResultBackend`."""
        await self.plan.run("expect", lambda: self.inner.expect(expected))

    async def enlarge(self, members: Mapping[str, Sequence[str]]) -> None:
        """See :class:`umbel.protocols.ResultBackend`."""
        await self.plan.run("enlarge", lambda: self.inner.enlarge(members))

    async def claim(self, publications: Sequence[tuple[str, str]]) -> list[bool]:
        """See :class:`umbel.protocols.ResultBackend`."""
        return await self.plan.run("claim", lambda: self.inner.claim(publications))

    async def forget_groups(self, ids: Sequence[str]) -> None:
        """See :class:`umbel.protocols.ResultBackend`."""
        await self.plan.run("forget_groups", lambda: self.inner.forget_groups(ids))

    async def store_groups(self, groups: Sequence[GroupRecord]) -> None:
        await self.plan.run("store_groups", lambda: self.inner.store_groups(groups))

    async def load_groups(self, ids: Sequence[str]) -> dict[str, GroupRecord]:
        return await self.plan.run("load_groups", lambda: self.inner.load_groups(ids))

    async def arrive(self, arrivals: Sequence[Arrival]) -> list[FullChord]:
        return await self.plan.run("arrive", lambda: self.inner.arrive(arrivals))

    async def seal(self, chord_ids: Sequence[str]) -> None:
        await self.plan.run("seal", lambda: self.inner.seal(chord_ids))

    async def prune(self, *, before: float, limit: int) -> int:
        return await self.plan.run("prune", lambda: self.inner.prune(before=before, limit=limit))


class _Interruption(Generic[T]):
    """Awaits a coroutine and cancels the task it runs in at its ``at``-th suspension."""

    def __init__(
        self, work: Coroutine[Any, Any, T], at: int, when: Literal["waiting", "ready"]
    ) -> None:
        self._work = work
        self._at = at
        self._when = when

    def __await__(self) -> Generator[Any, Any, T]:
        task = asyncio.current_task()
        assert task is not None
        steps = self._work.__await__()
        suspensions = 0
        try:
            awaited = steps.send(None)
            while True:
                suspensions += 1
                if suspensions == self._at:
                    self._cancel(task, awaited)
                try:
                    sent = yield awaited
                except BaseException as error:  # noqa: BLE001 - passed on to whom it is for
                    awaited = steps.throw(error)
                else:
                    awaited = steps.send(sent)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _cancel(self, task: asyncio.Task[Any], awaited: object) -> None:
        future: asyncio.Future[Any] | None = awaited if asyncio.isfuture(awaited) else None
        if self._when == "ready" and future is not None:
            # Before the task's own callback: it has what it waited for, and never gets to it.
            future.add_done_callback(lambda _: task.cancel())
        else:
            asyncio.get_running_loop().call_soon(task.cancel)


async def interrupted(
    work: Coroutine[Any, Any, T], *, at: int, when: Literal["waiting", "ready"] = "waiting"
) -> tuple[bool, T | None]:
    """Run a coroutine and cancel it at its ``at``-th await that suspends, counted from 1.

    Args:
        when: Cancel while it waits, or when what it waits for has just come.

    Returns:
        Whether it was cancelled, and otherwise what it returned: with a rising ``at``, the
        first False says that every await has had its turn.
    """

    async def run() -> T:
        return await _Interruption(work, at, when)

    task = asyncio.ensure_future(run())
    await asyncio.wait([task])
    if task.cancelled():
        return True, None
    return False, task.result()
