"""Faults of workflows: of any shape, killed; and chords whose members end in all ways but well."""

from __future__ import annotations

import random
import re
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from tests.integration.trees import Failed, Tree, build, interpret
from umbel import Signature, Umbel, chord
from umbel.exceptions import ChordError, WorkerLostError

from .scenarios import Play, Scenario, with_fleet
from .site import Fleet
from .stage import Outcome, Stage

__all__ = ["WORKFLOWS"]

_MEMBERS = 100_000
"""The first number of members of chords whose bodies alone count."""
_TAKES = 0.002
"""Seconds that a member takes. Of shorter ones, several are acknowledged together, and go when a
poisonous one ends their process."""
_DEPTH = 4

# -- of any shape


def _grown(rng: random.Random, depth: int) -> Tree:
    """A random workflow, at most so deep."""
    kind = rng.choice(["task", "task", "chain", "group", "chord", "replaced"]) if depth else "task"
    if kind == "task":
        return {
            "kind": kind,
            "tag": f"t{rng.randrange(1000)}",
            "fails": rng.random() < 0.05,
            "immutable": rng.random() < 0.3,
        }
    if kind == "replaced":
        return {"kind": kind, "by": _grown(rng, depth - 1)}
    parts = [_grown(rng, depth - 1) for _ in range(rng.randint(1, 3))]
    body = {"body": _grown(rng, depth - 1)} if kind == "chord" else {}
    return {"kind": kind, "parts": parts, **body}


def _workflow(rng: random.Random) -> Tree:
    """One that ends in a task."""
    last = {"kind": "task", "tag": "last", "fails": False, "immutable": False}
    return {"kind": "chain", "parts": [_grown(rng, _DEPTH), last]}


def _senders(app: Umbel) -> Any:
    """The signatures of the tasks, for who has not got the tasks."""

    def leaf(args: Any, kwargs: Any, **options: Any) -> Signature:
        return app.signature("workflows.leaf", args, kwargs, **options)

    def swap(tree: Tree) -> Signature:
        return app.signature("workflows.swap", kwargs={"tree": tree})

    return SimpleNamespace(leaf=SimpleNamespace(signature=leaf), swap=SimpleNamespace(s=swap))


def _killed(stage: Stage, fleet: Fleet) -> Outcome:
    """Workers are killed while they run all kinds of workflows; each ends as the plain interpreter
    says."""
    tasks = _senders(stage.site.app)
    kills = round(40 * stage.scale) + 5
    trees: list[Tree] = []
    for _ in range(kills):
        for _ in range(4):
            trees.append(_workflow(stage.rng))
            signature = build(trees[-1], tasks)
            stage.results.append(signature.apply_async())
        stage.started(4)
        time.sleep(stage.rng.uniform(0, 0.3))
        stage.kill(stage.rng.choice(fleet.trees))
        fleet.tend()
    outcome = stage.finish(fleet, timeout=180)
    ends = [
        (_told(each), _expected(tree))
        for tree, each in zip(trees, stage.results, strict=True)
        if each.ready()
    ]
    wrong = [f"{found!r} for {want!r}" for found, want in ends if not _agrees(found, want)]
    failed = sum(isinstance(found, Failed) for found, _ in ends)
    outcome.note = f"{kills} kills, {failed} of {len(ends)} failed as they had to"
    outcome.wrong = "; ".join(wrong[:3])
    return outcome


def _told(result: Any) -> Any:
    """A value; the tag of the task that failed; or another error."""
    value = result.result
    if not isinstance(value, Exception):
        return value
    found = re.findall(r"ValueError\(\\*'(t\d+)", repr(value))
    return Failed(frozenset(found[:1])) if found else value


def _expected(tree: Tree) -> Any:
    try:
        return interpret(tree)
    except Failed as failure:
        return failure


def _agrees(found: Any, wanted: Any) -> bool:
    if isinstance(found, WorkerLostError) or "WorkerLostError" in repr(found):
        # It was delivered three times, and killed three times: not its fault, and it says so.
        return True
    if isinstance(wanted, Failed):
        return isinstance(found, Failed) and found.tags <= wanted.tags
    return bool(found == wanted)


def _with_workflows(size: int) -> Play:
    def run(stage: Stage) -> Outcome:
        fleet = Fleet(stage.site, size, app="workflows")
        try:
            return _killed(stage, fleet)
        finally:
            fleet.kill()

    return run


# -- members that do not succeed


def _bad_members(stage: Stage, fleet: Fleet) -> Outcome:
    """One that raises, expires, is revoked, kills its process, is unknown, cannot be read."""
    app = stage.site.app
    # Until the worker is there, nobody hears of revokes.
    app.send_task("tasks.late", (-1, 0.0)).get(timeout=60)
    past = datetime.now(UTC) - timedelta(minutes=1)
    for _ in range(round(9 * stage.scale) + 1):
        late = [app.signature("tasks.late", (number, _TAKES)) for number in _numbers(stage, 6)]
        bad = {
            "raises": app.signature("tasks.late", (-3, "no number")),
            "expires": late[0].set(expires=past),
            "is revoked": late[1].set(countdown=5),
            "is poison": app.signature("tasks.exits", (-2,)),
            "is unknown": app.signature("tasks.unheard_of", (1,)),
            "is refused": late[2].set(serializer="pickle"),
        }
        for kind, member in bad.items():
            number = len(stage.results)
            body = app.signature("tasks.gather", (number,))
            body.link_error(app.signature("tasks.sorry", (number,)))
            others = [app.signature("tasks.late", (n, _TAKES)) for n in _numbers(stage, 2)]
            header = [member, *others]
            stage.results.append(chord(header, app=app)(body))
            if kind == "is revoked":
                stage.results[-1].parent.results[0].revoke()
    stage.struck()
    outcome = stage.finish(fleet, timeout=120)
    fleet.until(lambda: len(_told_of(stage)) == len(stage.results), 60, "error callbacks have run")
    wrong = [repr(each.result) for each in stage.results if not isinstance(each.result, ChordError)]
    twice = {number: count for number, count in _told_of(stage).items() if count != 1}
    outcome.note = f"{len(stage.results)} chords failed, and said so once"
    outcome.wrong = "; ".join(wrong[:3]) or (f"told of more than once: {twice}" if twice else "")
    return outcome


def _numbers(stage: Stage, count: int) -> range:
    """Those of members of the next chord."""
    first = _MEMBERS + 10 * (len(stage.results) + 1)
    return range(first, first + count)


def _told_of(stage: Stage) -> dict[int, int]:
    return stage.site.ledger.count("sorry")


WORKFLOWS = (
    Scenario("F38 random workflows, killed", _with_workflows(2)),
    Scenario("F40 chord, members end badly", with_fleet(_bad_members)),
)
