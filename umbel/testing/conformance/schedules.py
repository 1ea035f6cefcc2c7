"""What a store of periodic tasks must pass; mixed into a broker's tests."""

from __future__ import annotations

import asyncio

from umbel.model import Firing, Message, ScheduleRecord
from umbel.protocols import KeepsSchedules, PublishingScheduleStore, ScheduleStore
from umbel.testing.conformance.broker import MakeBroker
from umbel.testing.conformance.clocks import MovableClock

__all__ = ["ScheduleContract"]

SHORT = 0.4
"""Seconds; a lease that a test waits for."""


def entry(name: str, since: float = 100.0, text: bytes = b'{"task": "t"}') -> ScheduleRecord:
    """An entry that nobody has run."""
    return ScheduleRecord(name=name, entry=text, since=since)


def step(name: str, after: float, until: float, task_id: str | None = "id") -> Firing:
    """A step of an entry."""
    return Firing(name=name, after=after, until=until, at=until + 0.25, task_id=task_id)


async def stores(make_broker: MakeBroker, count: int = 1) -> list[ScheduleStore]:
    """The stores of so many brokers on the same place."""
    found: list[ScheduleStore] = []
    for _ in range(count):
        broker = await make_broker()
        assert isinstance(broker, KeepsSchedules)
        found.append(broker.schedules)
    return found


class ScheduleContract:
    """Fixtures to give: ``make_broker``, ``clock``."""

    async def test_what_is_put_is_there_for_everyone(self, make_broker: MakeBroker) -> None:
        one, two = await stores(make_broker, 2)

        await one.put([entry("b", 0.1 + 0.2), entry("a", 1763733955.123456)])

        assert await two.load() == [entry("a", 1763733955.123456), entry("b", 0.1 + 0.2)]
        assert await two.load(["b", "nobody"]) == [entry("b", 0.1 + 0.2)]
        assert await two.load([]) == []

    async def test_putting_an_entry_again_changes_what_it_says_and_not_how_far_it_has_come(
        self, make_broker: MakeBroker
    ) -> None:
        [store] = await stores(make_broker)
        term = (await store.lead("me", lease=30)).term
        await store.put([entry("a")])
        await store.fire([step("a", 100.0, 110.0)], term=term)
        await store.pause(["a"], paused=True)

        await store.put([entry("a", 5000.0, b"new")])

        [found] = await store.load()
        assert (found.entry, found.since, found.count, found.paused) == (b"new", 110.0, 1, True)

    async def test_only_one_leads(self, make_broker: MakeBroker) -> None:
        one, two = await stores(make_broker, 2)

        first = await one.lead("one", lease=30)
        second = await two.lead("two", lease=30)

        assert first.leader == second.leader == "one"
        assert first.term == second.term

    async def test_a_hundred_who_ask_at_once_get_one_leader(self, make_broker: MakeBroker) -> None:
        askers = await stores(make_broker, 4)

        answers = await asyncio.gather(
            *(store.lead(f"{n}", lease=30) for n, store in enumerate(askers * 25))
        )

        assert len({(answer.leader, answer.term) for answer in answers}) == 1

    async def test_a_leader_that_says_nothing_is_replaced_and_cannot_fire(
        self, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        one, two = await stores(make_broker, 2)
        await one.put([entry("a")])
        old = await one.lead("one", lease=SHORT)

        await clock.advance(SHORT * 1.5)
        new = await two.lead("two", lease=30)

        assert new.leader == "two"
        assert new.term > old.term
        assert await one.fire([step("a", 100.0, 110.0)], term=old.term) == [False]
        await one.sent(["a"], term=old.term)
        assert await two.load() == [entry("a")]

    async def test_a_leader_that_goes_on_keeps_its_term(self, make_broker: MakeBroker) -> None:
        one, two = await stores(make_broker, 2)
        first = await one.lead("one", lease=30)

        assert await one.lead("one", lease=30) == first
        assert (await two.lead("two", lease=30)).leader == "one"

    async def test_a_leader_that_resigns_is_replaced_at_once(self, make_broker: MakeBroker) -> None:
        one, two = await stores(make_broker, 2)
        first = await one.lead("one", lease=30)

        await two.resign("two")
        assert (await two.lead("two", lease=30)).leader == "one"
        await one.resign("one")

        second = await two.lead("two", lease=30)
        assert second.leader == "two"
        assert second.term > first.term

    async def test_a_step_is_taken_once(self, make_broker: MakeBroker) -> None:
        one, two = await stores(make_broker, 2)
        await one.put([entry("a")])
        term = (await one.lead("one", lease=30)).term

        taken = await asyncio.gather(
            *(
                store.fire([step("a", 100.0, 110.0, f"id-{n}")], term=term)
                for n, store in enumerate([one, two] * 5)
            )
        )

        assert sorted(taken) == [[False]] * 9 + [[True]]
        [found] = await one.load()
        assert found.since == 110.0
        assert found.count == 1
        assert found.task_id == f"id-{taken.index([True])}"

    async def test_a_batch_is_decided_entry_by_entry(self, make_broker: MakeBroker) -> None:
        [store] = await stores(make_broker)
        await store.put([entry("a"), entry("b"), entry("c")])
        term = (await store.lead("me", lease=30)).term

        taken = await store.fire(
            [
                step("a", 100.0, 110.0, "for a"),
                step("b", 99.0, 110.0),
                step("nobody", 100.0, 110.0),
                step("c", 100.0, 150.0, None),
            ],
            term=term,
        )

        assert taken == [True, False, False, True]
        a, b, c = await store.load()
        assert (a.since, a.count, a.last_run, a.task_id, a.unsent) == (
            *(110.0, 1, 110.25, "for a", True),
        )
        assert b == entry("b")
        # Skipped: nothing was run.
        assert (c.since, c.count, c.last_run, c.task_id, c.unsent) == (150.0, 0, None, None, False)

    async def test_a_task_counts_as_unsent_until_it_is_sent(self, make_broker: MakeBroker) -> None:
        [store] = await stores(make_broker)
        await store.put([entry("a")])
        term = (await store.lead("me", lease=30)).term
        await store.fire([step("a", 100.0, 110.0)], term=term)

        await store.sent(["a", "nobody"], term=term)

        [found] = await store.load()
        assert not found.unsent

    async def test_an_entry_that_is_asked_for_runs_once_and_stays_where_it_is(
        self, make_broker: MakeBroker
    ) -> None:
        [store] = await stores(make_broker)
        await store.put([entry("a")])
        term = (await store.lead("me", lease=30)).term
        assert await store.fire([step("a", 100.0, 100.0)], term=term) == [False]

        assert await store.ask(["a", "nobody"]) == ["a"]
        [asked] = await store.load()
        taken = [await store.fire([step("a", 100.0, 100.0)], term=term) for _ in range(2)]

        assert asked.asked
        assert taken == [[True], [False]]
        [found] = await store.load()
        assert (found.since, found.asked, found.count) == (100.0, False, 1)

    async def test_whoever_changes_the_schedule_changes_its_version(
        self, make_broker: MakeBroker
    ) -> None:
        leading, other = await stores(make_broker, 2)
        versions = [(await leading.lead("me", lease=30)).version]

        await other.put([entry("a"), entry("b")])
        versions.append((await leading.lead("me", lease=30)).version)
        assert await other.pause(["a", "nobody"], paused=True) == ["a"]
        versions.append((await leading.lead("me", lease=30)).version)
        assert await other.ask(["b"]) == ["b"]
        versions.append((await leading.lead("me", lease=30)).version)
        assert await other.remove(["b", "nobody"]) == ["b"]
        versions.append((await leading.lead("me", lease=30)).version)

        assert len(set(versions)) == len(versions)
        [left] = await leading.load()
        assert (left.name, left.paused) == ("a", True)

    async def test_firing_is_no_change_of_the_schedule(self, make_broker: MakeBroker) -> None:
        [store] = await stores(make_broker)
        await store.put([entry("a")])
        before = await store.lead("me", lease=30)

        await store.fire([step("a", 100.0, 110.0)], term=before.term)
        await store.sent(["a"], term=before.term)

        assert await store.lead("me", lease=30) == before

    async def test_a_store_that_publishes_sends_what_was_taken_and_nothing_else(
        self, make_broker: MakeBroker
    ) -> None:
        broker = await make_broker()
        assert isinstance(broker, KeepsSchedules)
        store = broker.schedules
        if not isinstance(store, PublishingScheduleStore):
            return
        await store.put([entry("a"), entry("b")])
        term = (await store.lead("me", lease=30)).term
        messages = [Message(id=name, body=b"[]", routing_key="mail") for name in "ab"]

        taken = await store.fire_and_publish(
            [step("a", 100.0, 110.0, "a"), step("b", 99.0, 110.0, "b")], messages, term=term
        )
        again = await store.fire_and_publish(
            [step("a", 100.0, 110.0, "a")], messages[:1], term=term
        )
        late = await store.fire_and_publish(
            [step("a", 110.0, 120.0, "a")], messages[:1], term=term - 1
        )

        assert (taken, again, late) == ([True, False], [False], [False])
        received = await broker.receive(["mail"], limit=10, wait=1.0)
        assert [delivery.message.id for delivery in received] == ["a"]
        a, b = await store.load()
        assert (a.since, a.count, a.unsent) == (110.0, 1, False)
        assert b == entry("b")
