"""Faults of what follows tasks: chains and chords."""

from __future__ import annotations

from umbel import Signature, chain, chord

from .scenarios import Scenario, crash_points, with_fleet
from .site import Fleet
from .stage import Outcome, Stage

__all__ = ["FLOWS"]


def _call(stage: Stage, task: str, *args: object) -> Signature:
    return stage.site.app.signature(f"tasks.{task}", args=args)


def _a_chain(stage: Stage) -> None:
    number = len(stage.results)
    links = [_call(stage, "late", n, 0.0) for n in (number, number + 1)]
    for link in links:
        link.set(immutable=True)
    last = chain(*links, app=stage.site.app).apply_async()
    stage.results += [last.parent, last]


def _a_chord(stage: Stage, size: int, seconds: float) -> None:
    first = len(stage.results)
    header = [_call(stage, "late", n, seconds) for n in range(first, first + size)]
    body = chord(header, app=stage.site.app)(_call(stage, "gather", first + size))
    stage.results += [*body.parent.results, body]


def _chord_killed(stage: Stage, fleet: Fleet) -> Outcome:
    """As it is half done, and a few times more."""
    size = round(180 * stage.scale) + 20
    _a_chord(stage, size, 0.02)
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


FLOWS = (
    Scenario("F38 chord, killed", with_fleet(_chord_killed), ("sqlite", "redis")),
    Scenario(
        "F39 crash points, chord",
        crash_points(lambda stage: _a_chord(stage, 2, 0.0)),
        ("sqlite", "redis"),
    ),
    Scenario("F41 crash points, chain", crash_points(_a_chain)),
)
