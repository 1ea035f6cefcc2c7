"""Faults: what is done, to which workers and brokers; and what came of the tasks."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from umbel.exceptions import WorkerLostError

from .ledger import until
from .site import CONCURRENCY, Fleet, Site

__all__ = ["SCENARIOS", "Outcome", "Play", "Scenario", "Stage"]
__all__ += ["all_at_work", "crash_points", "kill_cycles", "killed_under_load", "with_fleet"]


@dataclass
class Outcome:
    """What came of the tasks of one fault."""

    sent: int = 0
    lost: int = 0
    """Neither run to their end nor reported as failed; nobody will hear of them."""
    run_twice: int = 0
    """Runs beyond the first, of tasks that were not running when a worker died or froze."""
    repeated: int = 0
    """Runs beyond the first, in all."""
    never_ended: int = 0
    """Without a final state."""
    reported: int = 0
    """Ended as WorkerLostError."""
    recovery: float = 0.0
    """Seconds from the last fault to the next task that ended."""
    note: str = ""
    wrong: str = ""
    """What else is not as it must be."""

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, nothing ran again without need, and all ended in time."""
        counted = self.lost or self.never_ended or self.run_twice or self.wrong
        return not counted and self.recovery <= 30


@dataclass
class Stage:
    """One run of a scenario."""

    site: Site
    scale: float
    rng: random.Random = field(default_factory=lambda: random.Random(20261121))
    results: list[Any] = field(default_factory=list)
    fault_at: float = 0.0
    recovered: float | None = None
    """Seconds from the last fault, where the scenario knows better than :meth:`finish`."""
    ends_before: int = 0
    allowed: int = 0
    """Runs that may be repeated: those under way when a fault struck."""
    forgiven: set[int] = field(default_factory=set)
    """Those of which nobody can know any more: a server may forget them, and has been told so."""
    probes: set[int] = field(default_factory=set)
    """Those sent after the fault; the first of them that ends is the recovery."""
    started_before: set[int] | None = None
    """Those that had started when the fault was over; the first other one that does is the
    recovery."""

    def send(self, task: str, count: int, *args: object, **options: Any) -> None:
        """Send that many more."""
        start = len(self.results)
        self.results += self.site.send(task, range(start, start + count), *args, **options)

    def probe(self, count: int = 5) -> None:
        """Send what shows when work goes on; what was in hand may end as if nothing had been."""
        start = len(self.results)
        self.send("late", count, 0.0)
        self.probes = {*range(start, start + count)}

    def healed(self) -> None:
        """The fault is over; who had nothing in hand must fetch before anything else starts."""
        self.fault_at = time.monotonic()
        self.started_before = {*self.site.ledger.count("start")}

    def struck(self, running: int) -> None:
        """A fault has just struck workers that ran so many tasks."""
        self.fault_at = time.monotonic()
        self.ends_before = sum(self.site.ledger.count("end").values())
        self.allowed += running

    def started(self, more: int = 1, timeout: float = 40) -> None:
        """Wait until more tasks have started."""
        before = self.site.starts()
        until(lambda: self.site.starts() >= before + more, timeout, "tasks start")

    def wait_out(self) -> None:
        """Until whatever somebody held is another's, and has ended."""
        least = time.monotonic() + self.site.lease * 1.5 + 2
        while not (all_ended := all(each.ready() for each in self.results)):
            if time.monotonic() > self.fault_at + 60:
                break
            time.sleep(0.1)
        if all_ended:
            self.recovered = time.monotonic() - self.fault_at
        time.sleep(max(0.0, least - time.monotonic()))

    def finish(self, fleet: Fleet, timeout: float = 90) -> Outcome:
        """Wait until everything has ended, and count."""
        outcome = Outcome(sent=len(self.results) - len(self.forgiven))
        waiting = [each for n, each in enumerate(self.results) if n not in self.forgiven]
        deadline = time.monotonic() + timeout
        recovered = self.recovered
        while waiting and time.monotonic() < deadline:
            fleet.tend()
            if recovered is None and self._has_recovered():
                recovered = time.monotonic() - self.fault_at
            waiting = [each for each in waiting if not each.ready()]
            time.sleep(0.1)
        now = time.monotonic() - self.fault_at
        outcome.recovery = max(0.0, now if recovered is None else recovered)
        starts, ends = self.site.ledger.count("start"), self.site.ledger.count("end")
        outcome.never_ended = len(waiting)
        unended = {id(each) for each in waiting}
        outcome.lost = sum(
            id(each) in unended and not ends[number] for number, each in enumerate(self.results)
        )
        outcome.repeated = sum(starts.values()) - len(starts)
        outcome.run_twice = max(0, outcome.repeated - self.allowed)
        outcome.reported = sum(
            isinstance(each.result, WorkerLostError)
            for number, each in enumerate(self.results)
            if number not in self.forgiven and id(each) not in unended
        )
        return outcome

    def _has_recovered(self) -> bool:
        if self.started_before is not None:
            return not self.started_before.issuperset(self.site.ledger.count("start"))
        ends = self.site.ledger.count("end")
        if self.probes:
            return not self.probes.isdisjoint(ends)
        return ends.total() > self.ends_before


Play = Callable[[Stage], Outcome]


@dataclass(frozen=True)
class Scenario:
    """A fault and the brokers it can happen to."""

    name: str
    play: Play
    brokers: Sequence[str] = ("sqlite", "redis", "rabbitmq")


def with_fleet(play: Callable[[Stage, Fleet], Outcome], *arguments: str, size: int = 1) -> Play:
    """A scenario that needs so many workers from the start."""

    def run(stage: Stage) -> Outcome:
        fleet = Fleet(stage.site, size, *arguments)
        try:
            return play(stage, fleet)
        finally:
            fleet.kill()

    return run


def killed_under_load(task: str) -> Callable[[Stage, Fleet], Outcome]:
    """Killed as it works, and started again."""

    def play(stage: Stage, fleet: Fleet) -> Outcome:
        stage.send(task, int(200 * stage.scale) + 40, 0.02)
        for _ in range(int(3 * stage.scale) + 1):
            stage.started(5)
            fleet.trees[0].kill()
            stage.struck(2)
            fleet.tend()
        return stage.finish(fleet)

    return play


def _child_killed(stage: Stage, fleet: Fleet) -> Outcome:
    stage.send("late", 60, 0.05)
    stage.started(4)
    os.kill(fleet.trees[0].children()[-1], signal.SIGKILL)
    stage.struck(1)
    return stage.finish(fleet)


def _parent_killed(stage: Stage, fleet: Fleet) -> Outcome:
    stage.send("late", 60, 0.05)
    stage.started(4)
    tree = fleet.trees[0]
    tree.process.kill()
    tree.process.wait()
    stage.struck(2)
    until(lambda: not tree.children(), 15, "orphans end by themselves")
    return stage.finish(fleet)


def _ended(*signals: str) -> Callable[[Stage, Fleet], Outcome]:
    def play(stage: Stage, fleet: Fleet) -> Outcome:
        stage.send("late", 80, 0.05)
        stage.started(4)
        tree = fleet.trees[0]
        for name in signals:
            if name == "KILL":
                tree.kill()
            elif tree.process.poll() is None:
                tree.process.send_signal(getattr(signal, f"SIG{name}"))
                time.sleep(0.2)
        tree.process.wait(30)
        stage.struck(2 if signals != ("TERM",) else 0)
        return stage.finish(fleet)

    return play


def kill_cycles(stage: Stage) -> Outcome:
    """Killed while it fetches: the moment at which most brokers' clients lose messages."""
    cycles = int(200 * stage.scale) or 3
    fleet = Fleet(stage.site, 0)
    stage.send("late", 40 * min(cycles, 50), 0.001)
    for _ in range(cycles):
        if stage.site.ledger.count("end").total() > len(stage.results) - 40:
            stage.send("late", 400, 0.001)
        worker = stage.site.worker()
        before = stage.site.starts()
        until(lambda: stage.site.starts() > before, 40, "tasks start")  # noqa: B023
        time.sleep(stage.rng.uniform(0, 0.05))
        worker.kill()
        stage.struck(2)
    fleet.trees.append(stage.site.worker())
    try:
        return stage.finish(fleet, timeout=180)
    finally:
        fleet.kill()


_MOST_CALLS = 200
"""A worker that makes so many calls for one task goes round in circles."""


def crash_points(send: Callable[[Stage], None]) -> Play:
    """Killed at each call to broker and backend in turn, until a run of what is sent comes
    through."""

    def play(stage: Stage) -> Outcome:
        # Small turns leave calls out.
        step = 1 if stage.scale >= 0.5 else 2
        points, at = 0, 1 - step
        is_clean = False
        while not is_clean and at < _MOST_CALLS:
            at += step
            is_clean = True
            for when in ("before", "after"):
                send(stage)
                env = {"CRASH_AT": str(at), "CRASH_WHEN": when}
                worker = stage.site.worker(*("-c", "1", "-P", "threads"), env=env, app="crashing")
                last = stage.results[-1]
                until(
                    lambda: worker.process.poll() is not None or last.ready(),  # noqa: B023
                    30,
                    "it crashes or comes through",
                )
                if worker.process.poll() is None:
                    worker.kill()
                else:
                    points += 1
                    is_clean = False
                stage.struck(2)
        fleet = Fleet(stage.site)
        try:
            outcome = stage.finish(fleet)
        finally:
            fleet.kill()
        outcome.note = f"{points} crashes, clean at call {at}"
        outcome.wrong = "" if is_clean and points else f"{points} crashes by call {at}"
        return outcome

    return play


def all_at_work(stage: Stage, fleet: Fleet) -> None:
    """Until every worker has run something."""
    wanted = {tree.process.pid for tree in fleet.trees}

    def are_all() -> bool:
        stage.send("who", 2 * CONCURRENCY, 0.1)
        until(lambda: all(each.ready() for each in stage.results), 60, "they end")
        return wanted <= {os.getpgid(pid) for pid in stage.site.ledger.count("pid")}

    until(are_all, 60, "every worker works")


def _frozen(stage: Stage, fleet: Fleet) -> Outcome:
    all_at_work(stage, fleet)
    stage.send("late", 30, 0.3)
    stage.started(2 * CONCURRENCY)
    frozen = fleet.trees[0]
    os.killpg(frozen.process.pid, signal.SIGSTOP)
    stage.struck(2)
    stage.wait_out()
    os.killpg(frozen.process.pid, signal.SIGCONT)
    return stage.finish(fleet)


def _long(stage: Stage, fleet: Fleet) -> Outcome:
    stage.send("late", 2, stage.site.lease * 2.2)
    stage.struck(0)
    outcome = stage.finish(fleet)
    outcome.recovery = 0.0
    return outcome


def _eta(stage: Stage, fleet: Fleet) -> Outcome:
    stage.send("late", 100, 0.0, countdown=6.0)
    time.sleep(2)
    fleet.trees[0].kill()
    stage.struck(0)
    stage.fault_at = time.monotonic() + 4
    return stage.finish(fleet)


SCENARIOS = (
    Scenario("F1 worker killed, late", with_fleet(killed_under_load("late"))),
    Scenario("F2 worker killed, early", with_fleet(killed_under_load("early"))),
    Scenario("F3 child killed", with_fleet(_child_killed)),
    Scenario("F4 parent killed", with_fleet(_parent_killed)),
    Scenario("F5 TERM", with_fleet(_ended("TERM"))),
    Scenario("F6 TERM, KILL", with_fleet(_ended("TERM", "KILL"))),
    Scenario("F7 TERM, INT, QUIT", with_fleet(_ended("TERM", "INT", "QUIT"))),
    Scenario("F8 killed as it fetches", kill_cycles),
    Scenario("F9 crash points, late", crash_points(lambda stage: stage.send("late", 1, 0.0))),
    Scenario("F9 crash points, early", crash_points(lambda stage: stage.send("early", 1, 0.0))),
    Scenario("F25 ETA, worker killed", with_fleet(_eta)),
    Scenario("F28 longer than its lease", with_fleet(_long)),
    Scenario("F29 frozen and thawed", with_fleet(_frozen, size=2)),
)
