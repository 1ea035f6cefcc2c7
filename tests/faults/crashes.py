"""Workers that die at their first, second, third … call to broker and result backend."""

from __future__ import annotations

import time
from collections.abc import Callable

from .flows import a_chain, a_chord
from .ledger import until
from .scenarios import Play, Scenario
from .site import Fleet
from .stage import Outcome, Stage

__all__ = ["CRASHES"]

_MOST_CALLS = 200
"""A worker that makes so many calls for one task goes round in circles."""
_AT_ONCE = 3
"""Calls that are tried at the same time: each takes two workers."""
_SKIPPED = 7
"""Calls that a short turn goes on by."""
_AFTERWARDS = 0.5
"""Seconds for the calls that a worker makes when the last result is there."""

_Send = Callable[[Stage, str], None]
"""Sends tasks, and all that follows them, to a queue."""


class _Point:
    """One call at which a worker is killed, which has a queue and tasks of its own: whatever is
    left there is nobody else's, so that each worker makes the same calls."""

    def __init__(self, stage: Stage, send: _Send, at: int, when: str) -> None:
        self.at, self.queue = at, f"{when}-{at}"
        send(stage, self.queue)
        self._last = stage.results[-1]
        self._worker = stage.site.worker(
            *("-c", "1", "-P", "threads", "-Q", self.queue),
            env={"CRASH_AT": str(at), "CRASH_WHEN": when},
            app="crashing",
        )
        self.has_crashed = False
        self._ready_at: float | None = None

    def is_over(self) -> bool:
        """Whether the worker has crashed, or what was sent has come through."""
        if self._ready_at is None and self._last.ready():
            self._ready_at = time.monotonic()
        is_through = self._ready_at is not None and time.monotonic() > self._ready_at + _AFTERWARDS
        self.has_crashed = self._worker.process.poll() is not None
        return self.has_crashed or is_through

    def end(self) -> None:
        """End the worker that has come through."""
        if self._worker.process.poll() is None:
            self._worker.kill()


def _crash_points(send: _Send) -> Play:
    """Killed at each call to broker and backend in turn, until a run of what is sent comes
    through; then one worker takes over what is left of them all."""

    def play(stage: Stage) -> Outcome:
        step = 1 if stage.scale >= 0.5 else _SKIPPED
        queues: list[str] = []
        clean_at, at = 0, 1
        while not clean_at and at < _MOST_CALLS:
            calls = range(at, at + _AT_ONCE * step, step)
            points = [_Point(stage, send, n, when) for n in calls for when in ("before", "after")]
            try:
                for point in points:
                    until(point.is_over, 60, f"it crashes at {point.queue}, or comes through")
            finally:
                for point in points:
                    point.end()
            crashed = [point for point in points if point.has_crashed]
            queues += [point.queue for point in crashed]
            stage.struck()
            clean = {*calls} - {point.at for point in crashed}
            clean_at, at = min(clean, default=0), calls[-1] + step
        fleet = Fleet(stage.site, 1, "-Q", ",".join(queues))
        try:
            outcome = stage.finish(fleet)
        finally:
            fleet.kill()
        outcome.note = f"{len(queues)} crashes, clean at call {clean_at}"
        outcome.wrong = "" if clean_at and queues else outcome.note
        return outcome

    return play


def _one(task: str) -> _Send:
    return lambda stage, queue: stage.send(task, 1, 0.0, queue=queue)


CRASHES = (
    Scenario("F9 crash points, late", _crash_points(_one("late"))),
    Scenario("F9 crash points, early", _crash_points(_one("early"))),
    Scenario(
        "F39 crash points, chord",
        _crash_points(lambda stage, queue: a_chord(stage, 2, 0.0, queue)),
    ),
    Scenario("F41 crash points, chain", _crash_points(a_chain)),
)
