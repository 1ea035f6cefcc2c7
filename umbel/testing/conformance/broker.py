"""What every broker must pass.

A driver's test file is its fixture; embedded drivers add nothing, drivers of servers give a
:class:`~umbel.testing.conformance.clocks.WaitingClock` and leases of a second or less::

    class TestSQLiteBroker(BrokerContract):
        @pytest.fixture
        async def make_broker(
            self, clock: ManualClock, tmp_path: Path
        ) -> AsyncIterator[MakeBroker]:
            async with opening(lambda: SQLiteBroker(tmp_path / "q.db", clock=clock)) as make:
                yield make

What a broker does not claim (``Capabilities``) is skipped.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from umbel.clock import ManualClock
from umbel.exceptions import BatchError
from umbel.model import Queue
from umbel.protocols import Broker
from umbel.testing.conformance.begun import BegunContract
from umbel.testing.conformance.clocks import MovableClock
from umbel.testing.conformance.holders import HoldersContract
from umbel.testing.conformance.messages import (
    PATIENCE,
    MakeBroker,
    ids,
    message,
    messages,
    require,
    settle,
    take,
)
from umbel.testing.conformance.set_clocks import SetClockContract
from umbel.testing.conformance.sharing import SharingContract
from umbel.testing.conformance.timing import TimingContract
from umbel.testing.conformance.topology import TopologyContract

__all__ = ["BrokerContract", "MakeBroker", "message", "messages"]

_NO_LEASE = "leases last as long as the connection"


class BrokerContract(
    TimingContract,
    BegunContract,
    HoldersContract,
    SharingContract,
    SetClockContract,
    TopologyContract,
):
    """Fixtures to give: ``make_broker``; for servers also ``clock``."""

    @pytest.fixture
    def clock(self) -> MovableClock:
        """Moved by hand; a driver of a real server overrides it."""
        return ManualClock()

    @pytest.fixture
    async def broker(self, make_broker: MakeBroker) -> Broker:
        """The first instance."""
        return await make_broker()

    # Batches and bodies

    async def test_a_batch_arrives_whole_and_each_message_once(self, broker: Broker) -> None:
        sent = messages(50)

        await broker.publish(sent)

        assert sorted(ids(await take(broker, 50))) == sorted(ids(sent))
        assert await broker.receive(["q"], limit=1, wait=0) == []

    async def test_an_empty_batch_is_legal_and_does_nothing(self, broker: Broker) -> None:
        await broker.declare([])
        await broker.publish([])

        assert await broker.receive([], limit=1, wait=0) == []
        assert await broker.receive(["q"], limit=0, wait=0) == []
        assert await broker.ack([]) == []
        assert await broker.nack([]) == []
        assert await broker.extend([], lease=1) == []
        assert await broker.begin([]) == []
        assert await broker.purge([]) == 0
        assert await broker.stats([]) == {}

    @pytest.mark.parametrize(
        "body", [b"", bytes(range(256)), b"{not json", b"\xff\xfe\x00", b'"\r\n\x1a'], ids=repr
    )
    async def test_a_body_is_opaque(self, broker: Broker, body: bytes) -> None:
        await broker.publish([message(body=body)])

        [delivery] = await take(broker, 1)

        assert delivery.defect is None
        assert delivery.message.body == body

    async def test_a_body_may_have_ten_megabytes(self, broker: Broker) -> None:
        body = bytes(range(256)) * 40_960

        await broker.publish([message(body=body)])

        [delivery] = await take(broker, 1)
        assert delivery.message.body == body
        assert await broker.ack([delivery]) == []

    async def test_what_travels_with_a_body_arrives_as_it_was(self, broker: Broker) -> None:
        headers = {"id": "an-id", "task": "überweisen", "unknown": {"to": ["us", None, 1.5]}}
        sent = message(
            "an-id",
            content_type="application/x-thing",
            content_encoding="binary",
            headers=json.dumps(headers).encode(),
            reply_to="someone",
            priority=3,
            properties={"delivery_mode": 1},
        )

        await broker.publish([sent])

        [delivery] = await take(broker, 1)
        got = delivery.message
        assert (delivery.queue, delivery.attempt, delivery.redelivered) == ("q", 1, False)
        assert json.loads(got.headers) == headers
        for field in ("id", "content_type", "content_encoding", "correlation_id", "reply_to"):
            assert getattr(got, field) == getattr(sent, field)
        assert (got.priority, got.exchange, got.routing_key) == (3, "", "q")
        assert got.properties.get("delivery_mode") == 1

    async def test_two_messages_of_one_id_are_two_messages(self, broker: Broker) -> None:
        await broker.publish([message("same"), message("same")])

        first, second = await take(broker, 2)

        assert first.tag != second.tag
        assert await broker.ack([first]) == []
        assert await broker.ack([second]) == []

    async def test_a_refused_message_is_reported_by_index_and_the_others_are_in(
        self, broker: Broker
    ) -> None:
        good, lost, fine = message(), message(exchange="nowhere"), message()

        with pytest.raises(BatchError) as caught:
            await broker.publish([good, lost, fine])

        assert list(caught.value.errors) == [1]
        assert "nowhere" in str(caught.value.errors[1])
        assert sorted(ids(await take(broker, 2))) == sorted(ids([good, fine]))

    @pytest.mark.parametrize(
        "name",
        [
            "Grüße aus 東京 🚀",
            "a.b/c\\d:e",
            "x" * 200,
            "*",
            "q'; DROP TABLE q --",
            "a b\tc",
            "%s{}",
        ],
    )
    async def test_a_queue_may_have_any_name(self, broker: Broker, name: str) -> None:
        await broker.declare([Queue(name)])
        sent = message(routing_key=name)
        await broker.publish([sent])

        [delivery] = await take(broker, 1, name)

        assert (delivery.queue, delivery.message.id) == (name, sent.id)
        assert await broker.receive(["q"], limit=1, wait=0) == []

    # Receiving

    async def test_receive_never_gives_more_than_asked_for(self, broker: Broker) -> None:
        await broker.publish(messages(7))

        batches = [await broker.receive(["q"], limit=3, wait=PATIENCE) for _ in range(3)]

        assert max(len(batch) for batch in batches) <= 3
        assert sum(len(batch) for batch in batches) <= 7

    async def test_receive_does_not_wait_for_a_full_batch(self, broker: Broker) -> None:
        await broker.publish(messages(1))

        async with asyncio.timeout(PATIENCE / 2):
            assert len(await broker.receive(["q"], limit=10, wait=PATIENCE)) == 1

    async def test_receive_comes_back_empty_when_its_time_is_over(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        receiving = asyncio.create_task(broker.receive(["q"], limit=1, wait=0.5))
        await asyncio.sleep(0)

        await clock.advance(0.6)

        async with asyncio.timeout(PATIENCE):
            assert await receiving == []

    async def test_a_waiting_receive_gets_what_another_instance_publishes(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        require(broker.capabilities.wakeup, "the broker is asked again and again")
        producer = await make_broker()
        receiving = asyncio.create_task(broker.receive(["q"], limit=1, wait=PATIENCE))
        await clock.advance(0.05)
        assert not receiving.done()
        sent = message()

        await producer.publish([sent])

        async with asyncio.timeout(30):
            assert ids(await receiving) == [sent.id]

    async def test_earlier_queues_come_first(self, broker: Broker) -> None:
        for queue in ("third", "first", "second"):
            await broker.publish(messages(2, routing_key=queue))

        got = [
            (await broker.receive(["first", "second", "third"], limit=1, wait=PATIENCE))[0].queue
            for _ in range(6)
        ]

        assert got == ["first", "first", "second", "second", "third", "third"]

    async def test_a_batch_is_filled_from_several_queues(self, broker: Broker) -> None:
        await broker.publish([*messages(2, routing_key="a"), *messages(2, routing_key="b")])

        assert len(await take(broker, 4, "a", "b")) == 4

    async def test_messages_of_one_queue_come_in_order(self, broker: Broker) -> None:
        require(broker.capabilities.ordered, "the broker promises no order")
        sent = messages(20)
        await broker.publish(sent[:10])
        await broker.publish(sent[10:])

        got = await take(broker, 7) + await take(broker, 13)

        assert ids(got) == ids(sent)

    async def test_calls_may_overlap(self, broker: Broker) -> None:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            receiving = [group.create_task(take(broker, 10)) for _ in range(5)]
            for _ in range(10):
                group.create_task(broker.publish(messages(5)))

        got = [delivery for task in receiving for delivery in task.result()]
        assert len({delivery.tag for delivery in got}) == 50
        assert len(set(ids(got))) == 50

    # Leases

    async def test_what_is_acknowledged_never_comes_back(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        await broker.publish(messages(3))
        taken = await take(broker, 3)

        assert await broker.ack(taken) == []
        await broker.close()
        await clock.advance((broker.capabilities.lease or 0) * 1.2)

        assert await (await make_broker()).receive(["q"], limit=10, wait=0) == []

    async def test_an_expired_lease_is_redelivered(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        lease = require(broker.capabilities.lease, _NO_LEASE)
        other = await make_broker()
        await broker.publish([message("a")])
        [stale] = await take(broker, 1)
        assert stale.leased_until <= clock.monotonic() + lease

        assert await other.receive(["q"], limit=1, wait=0) == []
        await clock.advance(lease * 1.2)
        [mine] = await take(other, 1)

        assert (mine.message.id, mine.attempt, mine.redelivered) == ("a", 2, True)
        assert mine.tag != stale.tag
        assert mine.message.body == stale.message.body

    async def test_a_waiting_receive_gets_what_a_lost_consumer_held(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        lease = require(broker.capabilities.lease, _NO_LEASE)
        other = await make_broker()
        await broker.publish([message("a")])
        await take(broker, 1)

        receiving = asyncio.create_task(other.receive(["q"], limit=1, wait=lease * 10))
        await asyncio.sleep(0)
        await clock.advance(lease * 1.2)

        async with asyncio.timeout(PATIENCE):
            assert ids(await receiving or await take(other, 1)) == ["a"]

    async def test_an_extended_lease_holds(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        lease = require(broker.capabilities.lease, _NO_LEASE)
        other = await make_broker()
        await broker.publish(messages(1))
        taken = await take(broker, 1)

        for _ in range(3):
            await clock.advance(lease * 0.6)
            assert await broker.extend(taken, lease=lease) == []
            assert await other.receive(["q"], limit=1, wait=0) == []

        assert await broker.ack(taken) == []

    @pytest.mark.parametrize("verb", ["ack", "nack", "drop", "extend", "begin"])
    async def test_a_lost_lease_cannot_touch_anothers_message(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock, verb: str
    ) -> None:
        lease = require(broker.capabilities.lease, _NO_LEASE)
        other = await make_broker()
        await broker.publish(messages(1))
        [stale] = await take(broker, 1)
        await clock.advance(lease * 1.2)
        [mine] = await take(other, 1)

        assert await settle(broker, verb, [stale]) == [stale]

        assert await other.receive(["q"], limit=1, wait=0) == []
        assert await broker.receive(["q"], limit=1, wait=0) == []
        assert await other.extend([mine], lease=lease) == []
        assert await other.ack([mine]) == []
        assert await other.ack([mine]) == [mine]

    async def test_only_the_lost_ones_of_a_batch_are_returned(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        await broker.publish(messages(4))
        taken = await take(broker, 4)
        await broker.ack(taken[1:2])

        assert await broker.ack(taken) == [taken[1]]

        await clock.advance((broker.capabilities.lease or 0) * 1.2)
        assert await broker.receive(["q"], limit=10, wait=0) == []

    async def test_close_gives_back_what_is_held(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        other = await make_broker()
        sent = messages(3)
        await broker.publish(sent)
        taken = await take(broker, 3)
        await broker.ack(taken[:1])

        await broker.close()
        await broker.close()

        got = await take(other, 2)
        assert sorted(ids(got)) == sorted(ids(taken[1:]))
        assert all(delivery.redelivered for delivery in got)

    async def test_a_closed_broker_can_be_opened_again(self, broker: Broker) -> None:
        await broker.publish(messages(1))
        await broker.close()

        await broker.open()
        await broker.open()

        assert len(await take(broker, 1)) == 1

    # Giving back

    async def test_what_is_given_back_comes_again_at_once(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        taken = await take(broker, 1)

        assert await broker.nack(taken) == []

        [again] = await take(broker, 1)
        assert (again.message.id, again.attempt, again.redelivered) == ("a", 1, True)

    async def test_what_is_given_back_with_a_delay_comes_when_it_is_due(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        require(broker.capabilities.delay, "the broker does not delay")
        await broker.publish([message("a")])
        taken = await take(broker, 1)

        assert await broker.nack(taken, delay=1.0) == []

        await clock.advance(0.5)
        assert await broker.receive(["q"], limit=1, wait=0) == []
        await clock.advance(0.6)
        assert [d.redelivered for d in await take(broker, 1)] == [True]

    async def test_what_is_dropped_does_not_come_back(
        self, broker: Broker, clock: MovableClock
    ) -> None:
        await broker.publish(messages(1))
        taken = await take(broker, 1)

        assert await broker.nack(taken, requeue=False) == []

        await clock.advance((broker.capabilities.lease or 0) * 1.2)
        assert await broker.receive(["q"], limit=1, wait=0) == []
        assert await broker.nack(taken, requeue=False) == taken
