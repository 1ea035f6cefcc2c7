"""Chords where broker and result backend cannot commit together: what a crash leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Any

import msgspec
import pytest

from umbel.app.connecting.no_results import NoResults
from umbel.clock import ManualClock
from umbel.drivers.memory.backend import MemoryBackend
from umbel.drivers.memory.store import MemoryStore
from umbel.exceptions import BackendUnavailable
from umbel.model import Arrival, Composed, Expected, FullChord, Message, ResultRecord
from umbel.protocols import ResultBackend
from umbel.testing.faults import (
    FaultPlan,
    FaultyBackend,
    applied_then_raising,
    cancelling,
    raising,
)
from umbel.wire import headers
from umbel.worker.settling.chords import Chords, composing
from umbel.worker.settling.patience import Patience


class Site:
    """A backend that fails as planned, and what is published."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.plan = FaultPlan()
        self.inner = MemoryBackend(MemoryStore(), clock=self.clock)
        self.published: list[Message] = []
        self._ids = count(1)

    def worker(self, backend: ResultBackend | None = None) -> Chords:
        """One of several that share the backend."""
        return Chords(
            backend or FaultyBackend(self.inner, self.plan),
            self.publish,
            compose=composing(compose),
            patience=Patience(self.clock, jitter=lambda: 1.0),
            new_id=lambda: str(next(self._ids)),
        )

    async def publish(self, messages: Sequence[Message]) -> list[Exception]:
        return await self.plan.run("publish", lambda: self._accept(messages))

    async def _accept(self, messages: Sequence[Message]) -> list[Exception]:
        if any(message.body == b"too large" for message in messages):
            return [ValueError("it is too large")]
        self.published += messages
        return []

    @property
    def publications(self) -> list[tuple[str, Any]]:
        return [(each.id, headers.read(each)[headers.PUBLICATION]) for each in self.published]


def compose(arrival: Arrival, full: FullChord) -> Composed:
    """Sends the body; or lets a body that failed arrive at the chord around it."""
    if arrival.body == b"bad":
        raise ValueError("no such body")
    if full.lost:
        failed = ResultRecord(id=f"body of {full.id}", state="FAILURE", body=b"lost")
        sorry = Message(id="sorry", body=b"")
        return Composed(records=(failed,), publish=(sorry,))
    if full.trouble:
        failed = ResultRecord(id=f"body of {full.id}", state="FAILURE", body=full.trouble.encode())
        return Composed(records=(failed,))
    if any(record.state != "SUCCESS" for record in full.records):
        failed = ResultRecord(id=f"body of {full.id}", state="FAILURE", body=b"{}")
        around = Arrival(chord_id="around", index=0, size=1, record=failed, body=b"-")
        return Composed(records=(failed,), arrivals=(around,) if full.id != "around" else ())
    body = Message(id=f"body of {full.id}", body=arrival.body)
    return Composed(publish=(body,), expect=(Expected("next", 2),))


def member(index: int, state: str = "SUCCESS", *, chord: str = "c", body: bytes = b"") -> Arrival:
    record = ResultRecord(id=f"{chord}-{index}", state=state, body=b"{}")
    return Arrival(chord_id=chord, index=index, size=0, record=record, body=body)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.inner.open()
    await site.inner.expect([Expected("c", 2)])
    yield site
    await site.inner.close()


async def test_the_last_member_publishes_the_body(site: Site) -> None:
    worker = site.worker()
    await worker.complete([member(0)])
    assert site.published == []

    await worker.complete([member(1)])

    assert site.publications == [("body of c", "1")]
    await worker.complete([member(0), member(1)])
    assert len(site.published) == 1
    assert site.plan.calls("expect") == 1


@pytest.mark.parametrize("moment", ["before publishing", "after publishing"])
async def test_what_a_worker_left_undone_another_one_does(site: Site, moment: str) -> None:
    site.plan.on("publish" if moment == "before publishing" else "seal", 1, cancelling())
    await site.worker().complete([member(0)])
    dying = asyncio.create_task(site.worker().complete([member(1)]))
    await asyncio.wait([dying])
    assert dying.cancelled()

    # The member's message is delivered again.
    await site.worker().complete([member(1)])

    if moment == "before publishing":
        assert site.publications == [("body of c", "2")]
        return
    assert site.publications == [("body of c", "1"), ("body of c", "2")]
    # Two messages of one task: the first one that a worker starts is the one that runs, and may
    # be delivered again.
    assert await site.inner.claim([("body of c", "2")]) == [True]
    assert await site.inner.claim([("body of c", "1"), ("body of c", "2")]) == [False, True]


async def test_a_backend_that_goes_away_is_waited_for(site: Site) -> None:
    gone = BackendUnavailable("cannot reach memory://")
    site.plan.on("arrive", 1, raising(gone))
    site.plan.on("arrive", 2, applied_then_raising(gone))
    site.plan.on("seal", 1, applied_then_raising(gone))
    completing = asyncio.create_task(site.worker().complete([member(0), member(1)]))
    while not completing.done():
        await site.clock.advance(1)

    assert site.publications == [("body of c", "1")]
    assert site.plan.calls("arrive") == 3


async def test_a_failed_body_is_stored_and_arrives_at_the_chord_around_it(site: Site) -> None:
    await site.inner.expect([Expected("around", 1)])

    await site.worker().complete([member(0, "FAILURE"), member(1)])

    assert site.published == []
    assert set(await site.inner.load(["body of c", "body of around"])) == {
        "body of c",
        "body of around",
    }


async def test_a_chord_that_cannot_be_composed_is_reported_and_over(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await site.worker().complete([member(0, body=b"bad"), member(1, body=b"bad")])

    assert "The body of chord c cannot be sent" in caplog.text
    assert "no such body" in caplog.text
    assert await site.inner.arrive([member(0)]) == []


async def test_a_body_that_the_broker_refuses_fails(site: Site) -> None:
    await site.worker().complete([member(0, body=b"too large"), member(1, body=b"too large")])

    found = await site.inner.load(["body of c"])
    assert found["body of c"].body == b"ValueError('it is too large')"
    assert await site.inner.arrive([member(0)]) == []


async def test_without_results_a_chord_is_reported_and_the_worker_goes_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    worker = site.worker(NoResults())

    await worker.expect([Expected("c", 2)])
    await worker.complete([member(0), member(1)])

    assert caplog.text.count("Chord c will not be completed here") == 2


def of_a_lost_chord() -> Arrival:
    return msgspec.structs.replace(member(0, chord="lost", body=b"-"), expected=True)


async def test_a_chord_that_the_backend_has_lost_fails_once(site: Site) -> None:
    worker = site.worker()

    for _ in range(2):
        await worker.complete([of_a_lost_chord()])

    assert [each.id for each in site.published] == ["sorry"]
    records = await site.inner.load(["body of lost"])
    assert records["body of lost"].body == b"lost"


async def test_a_chord_whose_body_has_succeeded_is_not_lost(site: Site) -> None:
    """A worker of Celery's, which sent the body, remembers it for minutes only."""
    done = ResultRecord(id="body of lost", state="SUCCESS", body=b"{}")
    await site.inner.store([done])

    await site.worker().complete([of_a_lost_chord()])

    assert site.published == []
    assert (await site.inner.load(["body of lost"]))["body of lost"].state == "SUCCESS"
