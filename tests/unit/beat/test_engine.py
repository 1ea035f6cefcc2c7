"""The scheduler on a clock that stands still until it is moved: who fires what, when, how often."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from umbel import Umbel
from umbel.app.scheduling.schedule import code_entries
from umbel.beat import BeatLazyFunc, Engine
from umbel.beat.shelf import LastRun
from umbel.clock import ManualClock
from umbel.exceptions import BrokerUnavailable
from umbel.model import Message
from umbel.protocols import ScheduleStore
from umbel.schedules import crontab
from umbel.serialization import json
from umbel.wire import headers as wire_headers

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Fleet:
    """Schedulers of one app on one clock, and what they send."""

    def __init__(self, app: Umbel, clock: ManualClock) -> None:
        self.app = app
        self.clock = clock

    def engine(self, owner: str = "one", **options: Any) -> Engine:
        return Engine(
            self.app, self.app.connections.schedules, code_entries(self.app), owner=owner, **options
        )

    async def run(self, seconds: float, *engines: Engine) -> None:
        """Let time pass, in the steps that the engines ask for."""
        end = self.clock.monotonic() + seconds
        while True:
            pauses = [await engine.tick() for engine in engines]
            left = end - self.clock.monotonic()
            if left <= 0:
                return
            await self.clock.advance(min(max(min(pauses), 0.01), left))

    async def sent(self, queue: str = "celery") -> list[Message]:
        """What has been sent since it was asked last."""
        broker = await self.app.connections.broker()
        found = await broker.receive([queue], limit=1000, wait=0)
        await broker.ack(found)
        return [delivery.message for delivery in found]

    async def count(self, queue: str = "celery") -> int:
        return len(await self.sent(queue))


@pytest.fixture
def app() -> Umbel:
    return Umbel("beat", broker=f"memory://{uuid4().hex}", set_as_current=False)


@asynccontextmanager
async def fleet_of(app: Umbel, **entries: Any) -> AsyncIterator[Fleet]:
    clock = ManualClock(START)
    app.wall_clock = clock
    app.conf.beat_schedule = entries
    try:
        yield Fleet(app, clock)
    finally:
        await app.connections.close()


def tick(every: Any = 10, **rules: Any) -> dict[str, Any]:
    return {"task": "tick", "schedule": every, **rules}


async def test_an_entry_is_sent_at_each_of_its_times(app: Umbel) -> None:
    async with fleet_of(app, tick=tick(args=[1], kwargs={"x": 2})) as fleet:
        await fleet.run(35, fleet.engine())

        sent = await fleet.sent()

        assert len(sent) == 3
        found = wire_headers.read(sent[0])
        assert found["task"] == "tick"
        assert found["celery_beat_task"] is True
        assert json.loads(sent[0].body)[:2] == [[1], {"x": 2}]
        assert len({message.id for message in sent}) == 3


async def test_a_clock_that_is_set_back_while_it_runs_stops_no_interval(app: Umbel) -> None:
    async with fleet_of(app, tick=tick()) as fleet:
        engine = fleet.engine()
        await fleet.run(25, engine)
        assert await fleet.count() == 2

        fleet.clock.set(fleet.clock.now() - timedelta(hours=1))
        await fleet.run(25, engine)

        assert await fleet.count() == 2


async def test_options_of_an_entry_are_options_of_the_call(app: Umbel) -> None:
    options = {"queue": "slow", "expires": 30, "headers": {"mine": 1}}
    async with fleet_of(app, tick=tick(options=options)) as fleet:
        await fleet.run(11, fleet.engine())

        [message] = await fleet.sent("slow")

        assert wire_headers.read(message)["mine"] == 1
        assert message.expires_at is not None


async def test_arguments_may_be_worked_out_for_each_run(app: Umbel) -> None:
    numbers = iter(range(100))
    async with fleet_of(app, tick=tick(args=[BeatLazyFunc(next, numbers)])) as fleet:
        await fleet.run(25, fleet.engine())

        assert [json.loads(m.body)[0] for m in await fleet.sent()] == [[0], [1]]


async def test_of_two_schedulers_one_sends(app: Umbel) -> None:
    async with fleet_of(app, tick=tick()) as fleet:
        one, two = fleet.engine("one"), fleet.engine("two")

        await fleet.run(60.5, one, two)

        assert (one.leads, two.leads) == (True, False)
        assert await fleet.count() == 6


async def test_another_takes_over_within_ten_seconds_and_no_time_is_lost(app: Umbel) -> None:
    async with fleet_of(app, tick=tick(1)) as fleet:
        one, two = fleet.engine("one"), fleet.engine("two")
        await fleet.run(10.5, one, two)
        # Nobody hears of "one" any more.
        await fleet.run(9, two)

        assert two.leads
        # What came while nobody led was made up for, or counted as skipped.
        await fleet.run(1, two)
        [entry] = await fleet.app.schedule.alist()
        assert 15 <= entry.count <= 20
        assert await fleet.count() == entry.count


async def test_whoever_resigns_is_followed_at_once(app: Umbel) -> None:
    async with fleet_of(app, tick=tick(1)) as fleet:
        one, two = fleet.engine("one"), fleet.engine("two")
        await fleet.run(5.5, one, two)

        await one.resign()
        await fleet.run(5, two)

        assert await fleet.count() == 10


async def test_a_frozen_leader_that_thaws_sends_nothing(app: Umbel) -> None:
    async with fleet_of(app, tick=tick(1, missed="skip")) as fleet:
        frozen, other = fleet.engine("frozen"), fleet.engine("other")
        await fleet.run(5.5, frozen, other)
        await fleet.run(15, other)
        before = await fleet.count()

        # It was about to send when it froze: it believes that it leads, and that all is due.
        frozen._next_look = float("inf")
        await frozen.tick()
        assert await fleet.count() == 0
        await frozen.tick()

        assert not frozen.leads
        assert before <= 21


async def test_missed_times_follow_the_rule_after_a_restart(app: Umbel) -> None:
    async with fleet_of(
        app,
        last=tick(60, options={"queue": "last"}),
        skip=tick(60, missed="skip", options={"queue": "skip"}),
        all=tick(60, missed="all", missed_limit=4, options={"queue": "all"}),
    ) as fleet:
        await fleet.run(65, fleet.engine("one"))
        assert [await fleet.count(queue) for queue in ("last", "skip", "all")] == [1, 1, 1]
        await fleet.clock.advance(600 + 30)

        await fleet.run(5, fleet.engine("two"))

        assert [await fleet.count(queue) for queue in ("last", "skip", "all")] == [1, 0, 4]


async def test_skipped_times_are_reported(app: Umbel, caplog: pytest.LogCaptureFixture) -> None:
    async with fleet_of(app, tick=tick(60)) as fleet:
        await fleet.run(1, fleet.engine("one"))
        await fleet.clock.advance(600)

        with caplog.at_level(logging.INFO, "umbel.beat"):
            await fleet.run(5, fleet.engine("two"))

        assert "beat: Skipped 9 missed times of tick." in caplog.text
        assert "Scheduler: Sending due task tick (tick)" in caplog.text


async def test_entries_are_added_changed_and_removed_while_it_runs(app: Umbel) -> None:
    async with fleet_of(app) as fleet:
        engine = fleet.engine()
        await fleet.run(5, engine)

        await app.schedule.aadd("new", "tick", 10)
        await fleet.run(22, engine)
        assert await fleet.count() == 2
        await app.schedule.achange("new", {"schedule": 1})
        await fleet.run(10, engine)
        assert await fleet.count() >= 10
        await app.schedule.aremove("new")
        await fleet.run(30, engine)

        assert await fleet.count() <= 1


async def test_a_paused_entry_is_not_sent_and_nothing_is_made_up_for(app: Umbel) -> None:
    async with fleet_of(app, tick=tick(10, missed="all")) as fleet:
        engine = fleet.engine()
        await fleet.run(11, engine)
        await app.schedule.apause("tick")
        await fleet.run(60, engine)
        assert await fleet.count() == 1

        await app.schedule.aresume("tick")
        await fleet.run(20, engine)

        assert await fleet.count() == 2


async def test_an_entry_is_run_now_when_somebody_asks_and_its_times_stay(app: Umbel) -> None:
    async with fleet_of(app, tick=tick(100)) as fleet:
        engine = fleet.engine()
        await fleet.run(20, engine)

        await app.schedule.arun("tick")
        await fleet.run(3, engine)
        assert await fleet.count() == 1
        await fleet.run(78, engine)

        assert await fleet.count() == 1


async def test_entries_of_the_code_before_are_gone_and_added_ones_stay(app: Umbel) -> None:
    async with fleet_of(app, old=tick(), kept=tick()) as fleet:
        await fleet.run(1, fleet.engine("one"))
        await app.schedule.aadd("added", "tick", 10)
        app.conf.beat_schedule = {"kept": tick(), "new": tick()}
        await fleet.clock.advance(20)

        await fleet.run(1, fleet.engine("two"))

        assert [entry.name for entry in await app.schedule.alist()] == ["added", "kept", "new"]


async def test_an_entry_that_cannot_be_sent_is_logged_and_stops_no_other(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("no luck today")

    async with fleet_of(app, bad=tick(args=[BeatLazyFunc(broken)]), good=tick()) as fleet:
        await fleet.run(25, fleet.engine())

        assert await fleet.count() == 2
        assert caplog.text.count("beat: Couldn't apply scheduled task bad") == 2
        assert "no luck today" in caplog.text


async def test_while_its_last_task_runs_an_entry_is_skipped_or_waits(app: Umbel) -> None:
    async with fleet_of(
        app,
        skip=tick(10, overlap="skip", options={"queue": "skip"}),
        queue=tick(10, overlap="queue", options={"queue": "queue"}),
    ) as fleet:
        engine = fleet.engine()
        await fleet.run(35, engine)
        sent = {queue: await fleet.sent(queue) for queue in ("skip", "queue")}
        assert [len(messages) for messages in sent.values()] == [1, 1]

        backend = await app.connections.backend()
        for [message] in sent.values():
            app_result = app.codec.succeeded(Finished(message.id), None)
            await backend.store([app_result])
        await fleet.run(3, engine)
        assert [await fleet.count(queue) for queue in ("skip", "queue")] == [0, 1]
        await fleet.run(4, engine)

        assert [await fleet.count(queue) for queue in ("skip", "queue")] == [1, 0]


class Finished:
    def __init__(self, id: str) -> None:
        self.id, self.group_id, self.parent_id = id, None, None


class Unsteady:
    """A store, or a publisher, that fails when it is told to."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside
        self.failing: set[str] = set()
        self.failing_after: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inside, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if name in self.failing:
                raise BrokerUnavailable("it is away")
            result = await found(*args, **kwargs)
            if name in self.failing_after:
                raise BrokerUnavailable("the answer was lost")
            return result

        return call


async def unsteady(fleet: Fleet) -> tuple[Unsteady, Callable[[str], Engine]]:
    store = Unsteady(await fleet.app.connections.schedules())

    async def find() -> ScheduleStore:
        return store  # type: ignore[return-value]

    def engine(owner: str) -> Engine:
        return Engine(fleet.app, find, code_entries(fleet.app), owner=owner)

    return store, engine


@pytest.mark.parametrize("missed", ["last", "all"])
async def test_a_store_that_is_away_is_waited_for(app: Umbel, missed: str) -> None:
    async with fleet_of(app, tick=tick(1, missed=missed)) as fleet:
        store, make = await unsteady(fleet)
        engine = make("one")
        await fleet.run(5.5, engine)
        store.failing = {"lead", "fire", "load", "sent"}
        await fleet.run(4, engine)
        store.failing = set()

        await fleet.run(3, engine)

        assert await fleet.count() == 12


async def test_a_step_whose_answer_was_lost_is_neither_forgotten_nor_doubled(app: Umbel) -> None:
    async with fleet_of(app, tick=tick(5)) as fleet:
        store, make = await unsteady(fleet)
        engine = make("one")
        await fleet.run(4, engine)
        store.failing_after = {"fire"}
        await fleet.run(2, engine)
        store.failing_after = set()

        await fleet.run(3, engine)

        assert await fleet.count() == 1


async def test_what_was_taken_and_not_sent_is_sent_by_the_next_leader(app: Umbel) -> None:
    async with fleet_of(app, tick=tick(5)) as fleet:
        _, make = await unsteady(fleet)
        engine = make("dying")
        await fleet.run(4, engine)

        async def away(*_: Any) -> None:
            raise asyncio.CancelledError

        engine._sending.send = away  # type: ignore[method-assign]
        with pytest.raises(asyncio.CancelledError):
            await fleet.run(2, engine)
        assert await fleet.count() == 0

        await fleet.run(9, make("next"))

        assert await fleet.count() in {2, 3}
        [entry] = await app.schedule.alist()
        assert entry.count >= 2


async def test_entries_go_on_from_where_celery_left_them(app: Umbel) -> None:
    yesterday = START - timedelta(days=1)
    async with fleet_of(app, nightly=tick(crontab(0, 4)), fresh=tick(crontab(0, 4))) as fleet:
        before = {"nightly": LastRun(yesterday.timestamp(), 7)}

        await fleet.run(3, fleet.engine(before=before))

        # The one that Celery would have run at four is made up for; the new one begins now.
        assert await fleet.count() == 1


async def test_ten_thousand_entries_are_looked_at_only_when_they_are_due(app: Umbel) -> None:
    entries = {f"entry-{n}": tick(1000 + n) for n in range(2000)}
    async with fleet_of(app, **entries) as fleet:
        engine = fleet.engine()
        await engine.tick()
        for _ in range(10):
            await engine.tick()

        await fleet.run(2, engine)

        assert await fleet.count() == 0
