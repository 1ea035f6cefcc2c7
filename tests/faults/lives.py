"""Faults in the life of a task: taken over, revoked, retried, held back, deadly, unknown."""

from __future__ import annotations

import os
import time

from umbel.exceptions import NotRegistered, WorkerLostError
from umbel.testing.servers import RedisServer

from .ledger import Tree, until
from .outages import with_backend
from .scenarios import Scenario, all_at_work, killed_under_load, with_fleet
from .site import CONCURRENCY, Fleet
from .stage import Outcome, Stage

__all__ = ["LIVES"]

POISONS = (
    *("exits", "segfaults", "kills_itself", "eats_memory", "overflows"),
    "kills_its_worker",
)
_ATTEMPTS = 3
_RETRIES = 5
_SETTLED = 5.0
"""Seconds in which a worker that wakes up does whatever it is going to do."""


def _frozen_early(stage: Stage, fleet: Fleet) -> Outcome:
    """What a worker had begun when it froze is reported as lost, and stays so when it thaws."""
    all_at_work(stage, fleet)
    stage.send("early", 30, 0.3)
    stage.started(2 * CONCURRENCY)
    frozen = fleet.trees[0]
    stage.freeze(frozen)
    stage.wait_out()
    before = {each.id: each.state for each in stage.results if each.ready()}
    stage.thaw(frozen)
    time.sleep(_SETTLED)
    outcome = stage.finish(fleet)
    changed = [
        f"{before[each.id]} became {each.state}"
        for each in stage.results
        if before.get(each.id, each.state) != each.state
    ]
    outcome.wrong = "; ".join(changed)
    return outcome


def _frozen_as_it_stores(stage: Stage, fleet: Fleet, backend: RedisServer) -> Outcome:
    """It has a result and nowhere to put it, freezes, and thaws when another has stored its own."""
    all_at_work(stage, fleet)
    ended = stage.site.ledger.total("end")
    stage.send("who", 1, 1.0)
    stage.started()
    result = stage.results[-1]
    away = time.monotonic()
    backend.kill()
    until(lambda: stage.site.ledger.total("end") == ended + 1, 30, "it ends")
    holder = _holder(stage, fleet)
    time.sleep(1.5)
    stage.freeze(holder, keeps_since=away)
    until(lambda: stage.site.ledger.total("end") == ended + 2, 60, "another runs it")
    backend.start()
    stage.fault_at = time.monotonic()
    until(result.ready, 60, "the other one stores what it has")
    taken = result.get(timeout=60)
    stage.recovered = time.monotonic() - stage.fault_at
    stage.thaw(holder)
    time.sleep(_SETTLED)
    outcome = stage.finish(fleet)
    if stage.site.app.AsyncResult(result.id).get(timeout=60) != taken:
        outcome.wrong = "the result that was there was overwritten"
    return outcome


def _holder(stage: Stage, fleet: Fleet) -> Tree:
    pid = stage.site.ledger.last("pid")
    [holder] = [tree for tree in fleet.trees if os.getpgid(pid) == tree.process.pid]
    return holder


def _revoked(stage: Stage, fleet: Fleet) -> Outcome:
    """Terminated at any moment: as it begins, runs, ends, and when it has ended."""
    stage.send("early", 1, 0.0)
    stage.started()
    for _ in range(round(40 * stage.scale) + 6):
        stage.send("early", 1, 0.1)
        time.sleep(stage.rng.uniform(0.0, 0.25))
        stage.results[-1].revoke(terminate=True, signal="SIGKILL")
    stage.struck()
    stage.probe()
    outcome = stage.finish(fleet)
    before = [each.state for each in stage.results]
    time.sleep(1)
    after = [stage.site.app.AsyncResult(each.id).state for each in stage.results]
    outcome.note = f"{after.count('REVOKED')} revoked, {after.count('SUCCESS')} succeeded"
    if before != after or not {*after} <= {"REVOKED", "SUCCESS"}:
        outcome.wrong = f"states are {sorted({*before, *after})}, or have changed"
    return outcome


def _retried(stage: Stage, fleet: Fleet) -> Outcome:
    stage.send("tries", round(100 * stage.scale) + 20, _RETRIES)
    for _ in range(int(4 * stage.scale) + 1):
        stage.started(3)
        stage.kill(fleet.trees[0])
        fleet.tend()
    outcome = stage.finish(fleet)
    outcome.repeats = stage.site.repeats_of_tries()
    return outcome


def _held_back(stage: Stage, fleet: Fleet) -> Outcome:
    """What waits for its rate limit in a worker that dies is not lost."""
    stage.send("limited", round(80 * stage.scale) + 20)
    stage.started(5)
    stage.kill(fleet.trees[0])
    return stage.finish(fleet)


def _poisoned(stage: Stage, fleet: Fleet) -> Outcome:
    half = round(80 * stage.scale) + 20
    stage.send("late", half, 0.02)
    poison = [stage.site.send(name, range(-1 - n, -n))[0] for n, name in enumerate(POISONS)]
    stage.send("late", half, 0.02)
    stage.struck()
    outcome = stage.finish(fleet, timeout=120)
    fleet.until(lambda: all(each.ready() for each in poison), 180, "poison is given up")
    starts = stage.site.ledger.count("start")
    tried = {number: count for number, count in starts.items() if number < 0}
    letters = {each.message.id: each.reason for each in stage.site.app.dead_letters.latest()}
    outcome.note = f"{len(poison)} poison tasks tried {sorted(tried.values())} times"
    for each in poison:
        if not isinstance(each.result, WorkerLostError):
            outcome.wrong = f"one ended as {each.result!r}"
        if "given up after" not in letters.get(each.id, ""):
            outcome.wrong = "one is not with the dead letters"
    if max(tried.values()) > _ATTEMPTS:
        outcome.wrong = "tried too often"
    return outcome


def _unknown(stage: Stage, fleet: Fleet) -> Outcome:
    """Sent by somebody who was updated before the workers."""
    stage.send("late", 20, 0.0)
    app = stage.site.app
    unknown = [app.send_task("tasks.unheard_of", (number,)) for number in range(10)]
    stage.send("late", 20, 0.0)
    stage.struck()
    outcome = stage.finish(fleet)
    fleet.until(lambda: all(each.ready() for each in unknown), 30, "unknown tasks end")
    letters = {each.message.id for each in app.dead_letters.latest()}
    if not all(isinstance(each.result, NotRegistered) for each in unknown):
        outcome.wrong = f"one ended as {[each.result for each in unknown]}"
    if not letters.issuperset(each.id for each in unknown):
        outcome.wrong = "one is not with the dead letters"
    outcome.note = f"{len(unknown)} unknown tasks are with the dead letters"
    return outcome


LIVES = (
    Scenario("F29 frozen, early", with_fleet(_frozen_early, size=2)),
    Scenario("F29 frozen as it stores", with_backend(_frozen_as_it_stores, size=2)),
    Scenario("F31 poison among good ones", with_fleet(_poisoned)),
    Scenario("F37 unknown tasks", with_fleet(_unknown)),
    Scenario("F51 terminated at any time", with_fleet(_revoked)),
    Scenario("F52 retried, killed", with_fleet(_retried)),
    Scenario("F53 rate limit, killed", with_fleet(_held_back)),
    Scenario(
        "F54 a child per task, killed",
        with_fleet(killed_under_load("late"), "--max-tasks-per-child", "1"),
    ),
)
