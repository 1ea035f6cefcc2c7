"""Faults of what follows tasks: chains and chords."""

from __future__ import annotations

import time
from itertools import product
from typing import Any

from umbel import Signature, chain, chord
from umbel.exceptions import ChordError
from umbel.testing.servers import RedisServer

from .outages import with_backend
from .scenarios import Scenario, with_fleet
from .site import Fleet
from .stage import Outcome, Stage

__all__ = ["FLOWS", "a_chain", "a_chord"]


def _call(stage: Stage, task: str, *args: object) -> Signature:
    return stage.site.app.signature(f"tasks.{task}", args=args)


def a_chain(stage: Stage, queue: str) -> None:
    """Two tasks, one after the other."""
    number = len(stage.results)
    links = [_call(stage, "late", n, 0.0) for n in (number, number + 1)]
    for link in links:
        link.set(immutable=True, queue=queue)
    stage.site.sent_by[number + 1] = number
    last = chain(*links, app=stage.site.app).apply_async()
    stage.results += [last.parent, last]


def a_chord(stage: Stage, size: int, seconds: float, queue: str | None = None) -> None:
    """As many tasks, and one that counts what they have returned."""
    first = len(stage.results)
    header = [_call(stage, "late", n, seconds) for n in range(first, first + size)]
    gather = _call(stage, "gather", first + size)
    for each in (*header, gather) if queue else ():
        each.set(queue=queue)
    body = chord(header, app=stage.site.app)(gather)
    stage.results += [*body.parent.results, body]


def _chord_killed(stage: Stage, fleet: Fleet) -> Outcome:
    """As it is half done, and a few times more."""
    size = round(180 * stage.scale) + 20
    a_chord(stage, size, 0.02)
    stage.started(size // 2)
    for _ in range(3):
        stage.kill(fleet.trees[0])
        fleet.tend()
        stage.started(1)
    outcome = stage.finish(fleet)
    bodies, total = stage.site.ledger.count("start")[size], stage.results[-1].result
    outcome.note = f"the body ran {bodies} times, with {total} results"
    # It may be what was running as the worker was killed.
    if total != size or not 1 <= bodies <= 2:
        outcome.wrong = "the body did not run once with all"
    return outcome


_SIZE = 8
_MEMBERS = 100_000
"""The first number of members of chords whose bodies alone count."""


def _count_lost(stage: Stage, fleet: Fleet, backend: RedisServer) -> Outcome:
    """What the backend has of chords under way is gone: with all data, or as it restarts empty.

    Results that were there are gone, too, so only those of bodies are looked at.
    """
    for turn in range(round(19 * stage.scale) + 1):
        first = len(stage.results)
        for task, is_nested in product(("late", "early"), (False, True)):
            stage.results.append(_a_doomed_chord(stage, task, is_nested=is_nested))
        stage.started(4)
        backend.flush()
        if turn % 2:
            backend.kill()
            backend.start()
        stage.struck()
        fleet.until(
            lambda: all(each.ready() for each in stage.results[first:]),  # noqa: B023
            60,
            "all bodies have ended",
        )
        stage.recovered = time.monotonic() - stage.fault_at
        # That they are over is forgotten with the next loss, and each would be told of once more.
        fleet.until(lambda: _are_all_ended(stage), 60, "all members have ended")
    outcome = stage.finish(fleet)
    fleet.until(lambda: _is_told(stage), 30, "error callbacks have run")
    told = stage.site.ledger.count("sorry")
    ends = {repr(each.result) for each in stage.results if not isinstance(each.result, ChordError)}
    if ends or set(told.values()) != {1}:
        outcome.wrong = f"told {sorted(set(told.values()))} times, and ended as {sorted(ends)}"
    outcome.note = f"{len(told)} chords failed, and said so once"
    return outcome


def _are_all_ended(stage: Stage) -> bool:
    ended = stage.site.ledger.count("end")
    return sum(number >= _MEMBERS for number in ended) == _SIZE * len(stage.results)


def _is_told(stage: Stage) -> bool:
    return len(stage.site.ledger.count("sorry")) == len(stage.results)


def _a_doomed_chord(stage: Stage, task: str, *, is_nested: bool) -> Any:
    number = len(stage.results)
    numbers = range(_MEMBERS + number * _SIZE, _MEMBERS + (number + 1) * _SIZE)
    header = [_call(stage, task, n, 0.2) for n in numbers]
    if is_nested:
        within = chord(header[1:], _call(stage, "gather", numbers[0]), app=stage.site.app)
        header = [header[0], within]
    body = _call(stage, "gather", number)
    body.link_error(_call(stage, "sorry", number))
    return chord(header, app=stage.site.app)(body)


FLOWS = (
    Scenario("F38 chord, killed", with_fleet(_chord_killed)),
    Scenario("F43 backend loses its data", with_backend(_count_lost)),
)
