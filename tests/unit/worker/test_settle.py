"""The end of a request: publish, store, count, acknowledge."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from umbel.clock import ManualClock
from umbel.drivers.memory.backend import MemoryBackend
from umbel.drivers.memory.broker import MemoryBroker
from umbel.drivers.memory.store import MemoryStore
from umbel.exceptions import BackendStoreError, BackendUnavailable, BatchError
from umbel.model import (
    Ack,
    Arrival,
    Composed,
    Delivery,
    FullChord,
    Message,
    Nack,
    Queue,
    ResultRecord,
    Settlement,
)
from umbel.protocols import Compose, ResultBackend
from umbel.worker.settling.account import Account, Stuck
from umbel.worker.settling.patience import Patience
from umbel.worker.settling.settle import Settler

LEASE = 30.0


class Broker(MemoryBroker):
    """The memory broker, with a diary; it refuses messages to one address."""

    def __init__(self, store: MemoryStore, clock: ManualClock, diary: list[str]) -> None:
        super().__init__(store, clock=clock, lease=LEASE)
        self.diary = diary

    async def publish(self, messages: Sequence[Message]) -> None:
        self.diary.append(f"publish {' '.join(message.id for message in messages)}")
        refused = {
            n: ValueError("no") for n, m in enumerate(messages) if m.routing_key == "nowhere"
        }
        await super().publish([m for m in messages if m.routing_key != "nowhere"])
        if refused:
            raise BatchError("some were refused", refused)

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        self.diary.append(f"ack {' '.join(delivery.message.id for delivery in deliveries)}")
        return await super().ack(deliveries)


class Backend(MemoryBackend):
    """The memory backend, with a diary; it can be away."""

    def __init__(self, store: MemoryStore, clock: ManualClock, diary: list[str]) -> None:
        super().__init__(store, clock=clock)
        self.diary = diary
        self.away = 0
        self.most = 1000

    async def store(self, records: Sequence[ResultRecord]) -> None:
        if self.away:
            self.away -= 1
            raise BackendUnavailable("cannot reach memory://")
        for record in records:
            if len(record.body) > self.most:
                raise BackendStoreError("too large")
        self.diary.append(f"store {' '.join(record.id for record in records)}")
        await super().store(records)

    async def arrive(self, arrivals: Sequence[Arrival]) -> list[FullChord]:
        self.diary.append(f"count {' '.join(arrival.chord_id for arrival in arrivals)}")
        return await super().arrive(arrivals)

    async def seal(self, chord_ids: Sequence[str]) -> None:
        self.diary.append(f"seal {' '.join(chord_ids)}")
        await super().seal(chord_ids)


class Losses(Account):
    """Remembers what was settled in vain."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lost: list[Delivery] = []

    def settled(self, settlements: Sequence[Settlement], lost: Sequence[Delivery]) -> None:
        super().settled(settlements, lost)
        self.lost += lost


class Site:
    """A broker, a result backend and a settler on them, with a diary of what happens."""

    def __init__(self, broker: type[Broker] = Broker, *, soon: float = 60.0) -> None:
        self.clock = ManualClock()
        self.diary: list[str] = []
        # A store each: with one in common they would do it all in one step.
        self.broker = broker(MemoryStore(), self.clock, self.diary)
        self.backend = Backend(MemoryStore(), self.clock, self.diary)
        self.settled: list[str] = []
        self.stuck: Stuck = {}
        self.freed = asyncio.Event()
        self.account = Losses(lambda _: None, self.stuck, self.freed.set)
        self.completed: list[FullChord] = []
        self.taken_over: set[str] = set()
        self.settler = Settler(
            self.broker,
            self.backend,
            compose=self.compose,
            patience=Patience(self.clock, jitter=lambda: 1.0),
            settling=self.settling,
            fence=self.fence,
            account=self.account,
            failed=failed,
            soon=soon,
        )

    def compose(self, arrival: Arrival, chord: FullChord) -> Composed:
        self.completed.append(chord)
        return Composed(publish=(Message(id=f"body of {chord.id}", body=arrival.body),))

    async def settle(self, settlements: Sequence[Settlement]) -> list[Delivery]:
        """Settle; returns what was lost."""
        self.account.lost.clear()
        await self.settler.settle(settlements)
        return [*self.account.lost]

    async def fence(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        return [
            each
            for each in settlements
            if each.delivery is None or each.delivery.message.id not in self.taken_over
        ]

    @contextmanager
    def settling(self, deliveries: Sequence[Delivery]) -> Iterator[None]:
        yield
        self.settled += [delivery.message.id for delivery in deliveries]

    async def received(self, *ids: str) -> list[Delivery]:
        await self.broker.publish([Message(id=id_, body=b"", routing_key="q") for id_ in ids])
        deliveries = await self.broker.receive(["q"], limit=len(ids), wait=0)
        self.diary.clear()
        return deliveries


def record(id_: str) -> ResultRecord:
    return ResultRecord(id=id_, state="SUCCESS", body=b"{}")


def failed(id_: str, error: Exception) -> ResultRecord:
    return ResultRecord(id=id_, state="FAILURE", body=str(error).encode())


def done(delivery: Delivery | None, **fields: object) -> Settlement:
    return Settlement(delivery=delivery, verdict=Ack(), **fields)  # type: ignore[arg-type]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.broker.open()
    await site.backend.open()
    await site.broker.declare([Queue("q"), Queue("celery")])
    yield site
    await site.backend.close()
    await site.broker.close()


async def test_follow_ups_come_first_then_results_then_acknowledgements(site: Site) -> None:
    one, two = await site.received("a", "b")
    follow_up = Message(id="next", body=b"", routing_key="q")

    lost = await site.settle(
        [done(one, record=record("a"), publish=(follow_up,)), done(two, record=record("b"))]
    )

    assert lost == []
    assert site.diary == ["publish next", "store a b", "ack a b"]
    assert site.settled == ["a", "b"]


async def test_what_was_acknowledged_before_is_not_acknowledged_again(site: Site) -> None:
    await site.settle([done(None, record=record("a"))])

    assert site.diary == ["store a"]


async def test_what_goes_back_comes_again_and_what_is_dropped_does_not(site: Site) -> None:
    again, never = await site.received("again", "never")

    await site.settle(
        [
            Settlement(delivery=again, verdict=Nack(requeue=True)),
            Settlement(delivery=never, verdict=Nack(requeue=False)),
        ]
    )

    [back] = await site.broker.receive(["q"], limit=10, wait=0)
    assert (back.message.id, back.redelivered) == ("again", True)


async def test_results_wait_for_a_backend_that_is_away_and_acknowledgements_with_them(
    site: Site,
) -> None:
    [one] = await site.received("a")
    site.backend.away = 2

    settling = asyncio.create_task(site.settle([done(one, record=record("a"))]))
    await asyncio.sleep(0)
    assert site.diary == []
    await site.clock.advance(0.5)
    await site.clock.advance(1.0)

    assert await settling == []
    assert site.diary == ["store a", "ack a"]


async def test_a_result_is_not_stored_when_its_task_has_gone_to_another_worker_meanwhile(
    site: Site,
) -> None:
    one, two = await site.received("a", "b")
    site.backend.away = 1

    settling = asyncio.create_task(
        site.settle([done(one, record=record("a")), done(two, record=record("b"))])
    )
    await asyncio.sleep(0)
    site.taken_over.add("a")
    await site.clock.advance(0.5)

    assert await settling == []
    assert site.diary == ["store b", "ack b"]


@pytest.mark.parametrize("most", [1000, 3])
async def test_a_result_that_cannot_be_stored_costs_its_task_the_result_and_nobody_else(
    site: Site, caplog: pytest.LogCaptureFixture, most: int
) -> None:
    site.backend.most = most
    small, huge = await site.received("small", "huge")
    too_large = ResultRecord(id="huge", state="SUCCESS", body=b"-" * 2000, reply_to="somebody")

    await site.settle([done(huge, record=too_large), done(small, record=record("small"))])

    found = await site.backend.load(["small", "huge"])
    assert site.diary[-1] == "ack huge small"
    assert found["small"].state == "SUCCESS"
    assert "The result of task huge cannot be stored, so it fails: too large" in caplog.text
    if most == 1000:
        assert (found["huge"].state, found["huge"].body) == ("FAILURE", b"too large")
        assert found["huge"].reply_to == "somebody"
    else:
        assert "huge" not in found
        assert "nobody will hear of it" in caplog.text


async def test_what_was_taken_over_while_its_follow_ups_were_published_is_not_stored(
    site: Site,
) -> None:
    [one] = await site.received("a")
    site.taken_over.add("a")
    follow_up = Message(id="next", body=b"", routing_key="q")

    await site.settle([done(one, record=record("a"), publish=(follow_up,))])

    assert site.diary == ["publish next"]


async def test_lost_deliveries_are_returned(site: Site) -> None:
    [stale] = await site.received("a")
    await site.clock.advance(LEASE + 1)
    [mine] = await site.broker.receive(["q"], limit=1, wait=0)

    assert await site.settle([done(stale)]) == [stale]
    assert await site.settle([done(mine)]) == []


async def test_the_last_member_of_a_chord_publishes_its_body_before_the_seal(site: Site) -> None:
    def member(index: int) -> Settlement:
        arrival = Arrival(
            chord_id="c", index=index, size=2, record=record(str(index)), body=b"then"
        )
        return done(None, record=record(str(index)), arrivals=(arrival,))

    await site.settle([member(0)])
    assert site.diary == ["store 0", "count c"]
    site.diary.clear()
    await site.settle([member(1)])

    assert site.diary == ["store 1", "count c", "publish body of c", "seal c"]


async def test_a_refused_follow_up_is_reported_and_holds_nothing_else_up(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    [one] = await site.received("a")
    messages = (
        Message(id="lost", body=b"", routing_key="nowhere"),
        Message(id="next", body=b"", routing_key="q"),
    )

    with caplog.at_level(logging.ERROR):
        await site.settle([done(one, record=record("a"), publish=messages)])

    assert site.diary[-2:] == ["store a", "ack a"]
    assert "'lost'" in caplog.text
    assert [d.message.id for d in await site.broker.receive(["q"], limit=9, wait=0)] == ["next"]


async def test_no_call_carries_more_than_the_broker_takes(site: Site) -> None:
    limit = site.broker.capabilities.batch_limit
    messages = tuple(Message(id=f"{n}", body=b"", routing_key="q") for n in range(limit + 1))

    await site.settle([done(None, publish=messages)])

    assert [len(line.split()) - 1 for line in site.diary] == [limit, 1]


async def test_nothing_to_settle_is_nothing_to_do(site: Site) -> None:
    assert await site.settle([]) == []
    assert site.diary == []


class Together(Broker):
    """It commits with any memory backend of the test, and refuses a whole batch when told to."""

    refuses = False

    def commits_with(self, backend: ResultBackend) -> bool:
        return True

    async def settle(
        self, settlements: Sequence[Settlement], *, compose: Compose
    ) -> list[Delivery]:
        self.diary.append(f"settle {len(settlements)}")
        if self.refuses:
            raise BatchError("something was refused", {0: ValueError("no")})
        return await super().settle(settlements, compose=compose)


@pytest.mark.parametrize("stored", ["nothing", "STARTED", "SUCCESS", "FAILURE"])
async def test_what_a_dead_worker_had_stored_counts_for_more_than_its_death(
    site: Site, stored: str
) -> None:
    [delivery] = await site.received("a")
    lost = ResultRecord(id="a", state="FAILURE", body=b"lost")
    after = ResultRecord(id="z", state="FAILURE", body=b"lost")
    if stored != "nothing":
        await site.backend.store([ResultRecord(id="a", state=stored, body=b"kept")])
    settlement = done(
        delivery,
        record=lost,
        tail=(after,),
        publish=(Message(id="sorry", body=b"", routing_key="q"),),
        arrivals=tuple(
            Arrival(chord_id=chord, index=0, size=1, record=each, body=b"-")
            for chord, each in (("own", lost), ("of-the-chain", after))
        ),
        doubtful=True,
    )
    site.diary.clear()

    await site.settle([settlement])

    had_ended = stored in ("SUCCESS", "FAILURE")
    assert ("publish sorry" in site.diary) is not had_ended
    assert ("store a z" in site.diary) is not had_ended
    assert ("count own" if stored == "SUCCESS" else "count own of-the-chain") in site.diary
    [full] = [each for each in site.completed if each.id == "own"]
    assert full.records[0].body == (b"kept" if had_ended else b"lost")
    assert site.settled == ["a"]


@pytest.fixture
async def united() -> AsyncIterator[Site]:
    site = Site(Together)
    await site.broker.open()
    await site.backend.open()
    await site.broker.declare([Queue("q"), Queue("celery")])
    yield site
    await site.backend.close()
    await site.broker.close()


async def test_where_broker_and_backend_commit_together_it_is_one_step(united: Site) -> None:
    one, two = await united.received("a", "b")

    lost = await united.settle([done(one, record=record("a")), done(two)])

    assert lost == []
    assert united.diary == ["settle 2"]
    assert united.settled == ["a", "b"]


async def test_if_something_is_refused_the_rest_is_done_step_by_step(united: Site) -> None:
    [one] = await united.received("a")
    united.broker.refuses = True  # type: ignore[attr-defined]

    await united.settle([done(one, record=record("a"))])

    assert united.diary == ["settle 1", "store a", "ack a"]
