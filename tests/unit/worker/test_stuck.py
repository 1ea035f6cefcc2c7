"""What the broker does not take for a while holds up the tasks that it is about, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from umbel.clock import ManualClock
from umbel.drivers.memory.store import MemoryStore
from umbel.model import Arrival, Delivery, Message, Nack, Queue, Settlement
from umbel.worker.fetching.credit import Credit

from .test_credit import Slots
from .test_settle import Broker, Site, done, record


class Congested(Broker):
    """A broker that takes nothing for some queues, until it does; and no dead letters."""

    def __init__(self, store: MemoryStore, clock: ManualClock, diary: list[str]) -> None:
        super().__init__(store, clock, diary)
        self.free = {name: asyncio.Event() for name in ("stuck", "full", "dead")}
        self.error: Exception | None = None

    async def publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.routing_key in self.free:
                await self.free[message.routing_key].wait()
        if self.error is not None:
            raise self.error
        await super().publish(messages)

    async def nack(
        self,
        deliveries: Sequence[Delivery],
        *,
        requeue: bool = True,
        delay: float = 0.0,
        counts: bool = False,
        reason: str = "",
    ) -> list[Delivery]:
        if not requeue:
            await self.free["dead"].wait()
        self.diary.append(f"nack {' '.join(delivery.message.id for delivery in deliveries)}")
        return await super().nack(
            deliveries, requeue=requeue, delay=delay, counts=counts, reason=reason
        )


class StuckSite(Site):
    def __init__(self) -> None:
        # Seconds of real time.
        super().__init__(Congested, soon=0.3)
        assert isinstance(self.broker, Congested)
        self.free = self.broker.free
        self.running = asyncio.create_task(self.settler.run())


def to(queue: str, id_: str = "next") -> tuple[Message]:
    return (Message(id=id_, body=b"", routing_key=queue),)


@pytest.fixture
async def site() -> AsyncIterator[StuckSite]:
    site = StuckSite()
    await site.broker.open()
    await site.backend.open()
    await site.broker.declare([Queue(name) for name in ("q", "celery", "stuck", "full")])
    yield site
    site.running.cancel()
    await asyncio.wait([site.running])
    await site.backend.close()
    await site.broker.close()


async def test_what_publishes_nothing_does_not_wait_for_what_cannot_be_published(
    site: StuckSite,
) -> None:
    tries, plain, later = await site.received("tries", "plain", "later")

    await site.settle(
        [
            done(tries, record=record("tries"), publish=to("stuck")),
            done(plain, record=record("plain")),
        ]
    )
    await site.settle([done(later)])

    assert site.diary == ["store plain", "ack plain", "ack later"]
    assert site.settled == ["plain", "later"]
    site.diary.clear()
    site.free["stuck"].set()
    await site.settler.until_idle()
    assert site.diary == ["publish next", "store tries", "ack tries"]


async def test_what_is_stuck_in_the_same_way_waits_and_is_one_batch_then(site: StuckSite) -> None:
    deliveries = await site.received("a", "b", "c", "d")

    for delivery in deliveries:
        id_ = delivery.message.id
        await site.settle([done(delivery, record=record(id_), publish=to("stuck", f"after {id_}"))])
    assert site.diary == []
    assert len(site.stuck) == 4

    site.free["stuck"].set()
    await site.settler.until_idle()
    first = ["publish after a", "store a", "ack a"]
    assert site.diary == [*first, "publish after b after c after d", "store b c d", "ack b c d"]
    assert len(site.stuck) == 0


async def test_a_queue_that_takes_nothing_does_not_hold_up_what_goes_to_others(
    site: StuckSite,
) -> None:
    one, two, three, four = await site.received("1", "2", "3", "4")

    await site.settle([done(one, publish=to("stuck"))])
    await site.settle([done(two, publish=to("q", "passes")), done(three, publish=to("stuck"))])
    await site.settle([done(four, publish=to("full"))])

    assert site.diary == ["publish passes", "ack 2"]
    site.free["full"].set()
    await asyncio.wait_for(site.freed.wait(), 60)
    assert site.diary[2:] == ["publish next", "ack 4"]
    site.free["stuck"].set()
    await site.settler.until_idle()
    assert site.diary[4:] == ["publish next", "ack 1", "publish next", "ack 3"]


async def test_what_others_have_by_now_is_neither_published_nor_stored(site: StuckSite) -> None:
    one, two = await site.received("1", "2")
    await site.settle([done(one, record=record("1"), publish=to("stuck", "after 1"))])
    await site.settle([done(two, record=record("2"), publish=to("stuck", "after 2"))])

    site.taken_over |= {"1", "2"}
    site.free["stuck"].set()
    await site.settler.until_idle()

    assert site.diary == ["publish after 1"]
    assert len(site.stuck) == 0


async def test_a_chord_whose_body_cannot_be_sent_holds_up_no_acknowledgement(
    site: StuckSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, plain = await site.received("member", "plain")
    stuck, publish = asyncio.Event(), site.broker.publish

    async def when_it_is_free(messages: Sequence[Message]) -> None:
        await stuck.wait()
        await publish(messages)

    monkeypatch.setattr(site.broker, "publish", when_it_is_free)
    arrival = Arrival(chord_id="c", index=0, size=1, record=record("member"), body=b"-")

    await site.settle(
        [done(member, record=record("member"), arrivals=(arrival,)), done(plain)],
    )

    assert site.diary == ["store member", "count c", "ack plain"]
    stuck.set()
    await site.settler.until_idle()
    assert site.diary[3:] == ["publish body of c", "seal c", "ack member"]


async def test_a_dead_letter_that_cannot_be_kept_holds_up_no_acknowledgement(
    site: StuckSite,
) -> None:
    bad, worse, good = await site.received("bad", "worse", "good")
    dropped = Nack(requeue=False, reason="no")

    await site.settle([Settlement(delivery=bad, verdict=dropped), done(good)])
    await site.settle([Settlement(delivery=worse, verdict=dropped)])

    assert site.diary == ["ack good"]
    site.free["dead"].set()
    await site.settler.until_idle()
    assert site.diary == ["ack good", "nack bad", "nack worse"]


async def test_what_is_stuck_counts_for_how_much_may_be_unsettled(site: StuckSite) -> None:
    credit = Credit(
        Slots(2, 2),  # type: ignore[arg-type]
        prefetch=True,
        under_way=[],
        active={},
        unsettled=[],
        stuck=site.stuck,
        unsettled_limit=2,
    )
    one, two = await site.received("1", "2")

    await site.settle([done(one, publish=to("stuck"))])
    assert credit.room() == 2
    await site.settle([done(two, publish=to("stuck"))])
    assert credit.room() == 0

    site.free["stuck"].set()
    await site.settler.until_idle()
    assert credit.room() == 2


async def test_what_fails_after_it_was_stuck_is_raised(site: StuckSite) -> None:
    assert isinstance(site.broker, Congested)
    [one] = await site.received("1")
    await site.settle([done(one, publish=to("stuck"))])

    site.broker.error = OSError("broken")
    site.free["stuck"].set()

    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        await site.running


async def test_what_is_stuck_is_cancelled_with_the_worker(site: StuckSite) -> None:
    one, two = await site.received("1", "2")
    await site.settle([done(one, record=record("1"), publish=to("stuck"))])
    await site.settle([done(two, record=record("2"), publish=to("stuck"))])

    site.running.cancel()
    await asyncio.wait([site.running])
    site.free["stuck"].set()
    await asyncio.sleep(0)

    assert site.running.cancelled()
    assert site.diary == []
