"""Faults of what follows tasks: chains and chords."""

from __future__ import annotations

from umbel import Signature, chain, chord

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


FLOWS = (Scenario("F38 chord, killed", with_fleet(_chord_killed)),)
