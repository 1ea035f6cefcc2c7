"""Faults: what is done, to which workers and brokers; and what came of the tasks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .ledger import until
from .site import CONCURRENCY, Fleet
from .stage import Outcome, Stage

__all__ = ["SCENARIOS", "Play", "Scenario"]
__all__ += ["all_at_work", "kill_cycles", "killed_under_load", "with_fleet"]


Play = Callable[[Stage], Outcome]


@dataclass(frozen=True)
class Scenario:
    """A fault and the brokers it can happen to."""

    name: str
    play: Play
    brokers: Sequence[str] = ("sqlite", "redis", "rabbitmq")
    is_long: bool = False
    """Takes minutes."""


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
            stage.kill(fleet.trees[0])
            fleet.tend()
        return stage.finish(fleet)

    return play


def _child_killed(stage: Stage, fleet: Fleet) -> Outcome:
    stage.send("late", 60, 0.05)
    stage.started(4)
    stage.kill_process(fleet.trees[0].children()[-1])
    return stage.finish(fleet)


def _parent_killed(stage: Stage, fleet: Fleet) -> Outcome:
    stage.send("late", 60, 0.05)
    stage.started(4)
    tree = fleet.trees[0]
    begin = time.monotonic()
    tree.process.kill()
    tree.process.wait()
    stage.struck()
    until(lambda: not tree.children(), 15, "orphans end by themselves")
    stage.site.accounts.died(group=tree.process.pid, begin=begin, end=time.monotonic())
    return stage.finish(fleet)


def _ended(*signals: str) -> Callable[[Stage, Fleet], Outcome]:
    def play(stage: Stage, fleet: Fleet) -> Outcome:
        stage.send("late", 80, 0.05)
        stage.started(4)
        tree = fleet.trees[0]
        begin = time.monotonic()
        for name in signals:
            if name == "KILL":
                tree.kill()
            elif tree.process.poll() is None:
                tree.process.send_signal(getattr(signal, f"SIG{name}"))
                time.sleep(0.2)
        tree.process.wait(30)
        stage.struck()
        if "QUIT" in signals:
            # It ends what runs, without waiting for it.
            stage.site.accounts.died(group=tree.process.pid, begin=begin, end=stage.fault_at)
        return stage.finish(fleet)

    return play


def kill_cycles(stage: Stage) -> Outcome:
    """Killed while it fetches: the moment at which most brokers' clients lose messages."""
    cycles = int(200 * stage.scale) or 3
    fleet = Fleet(stage.site, 0)
    stage.send("late", 40 * min(cycles, 50), 0.001)
    for _ in range(cycles):
        if stage.site.ledger.total("end") > len(stage.results) - 40:
            stage.send("late", 400, 0.001)
        worker = stage.site.worker()
        before = stage.site.starts()
        until(lambda: stage.site.starts() > before, 40, "tasks start")  # noqa: B023
        time.sleep(stage.rng.uniform(0, 0.05))
        stage.kill(worker)
    fleet.trees.append(stage.site.worker())
    try:
        return stage.finish(fleet, timeout=180)
    finally:
        fleet.kill()


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
    stage.freeze(frozen)
    stage.wait_out()
    stage.thaw(frozen)
    return stage.finish(fleet)


def _long(stage: Stage, fleet: Fleet) -> Outcome:
    stage.send("late", 2, stage.site.lease * 2.2)
    stage.struck()
    outcome = stage.finish(fleet)
    outcome.recovery = 0.0
    return outcome


def _eta(stage: Stage, fleet: Fleet) -> Outcome:
    stage.send("late", 100, 0.0, countdown=6.0)
    time.sleep(2)
    stage.kill(fleet.trees[0])
    stage.fault_at += 4
    return stage.finish(fleet)


SCENARIOS = (
    Scenario("F1 worker killed, late", with_fleet(killed_under_load("late"))),
    Scenario("F2 worker killed, early", with_fleet(killed_under_load("early"))),
    Scenario("F3 child killed", with_fleet(_child_killed)),
    Scenario("F4 parent killed", with_fleet(_parent_killed)),
    Scenario("F5 TERM", with_fleet(_ended("TERM"))),
    Scenario("F6 TERM, KILL", with_fleet(_ended("TERM", "KILL"))),
    Scenario("F7 TERM, INT, QUIT", with_fleet(_ended("TERM", "INT", "QUIT"))),
    Scenario("F8 killed as it fetches", kill_cycles, is_long=True),
    Scenario("F25 ETA, worker killed", with_fleet(_eta)),
    Scenario("F28 longer than its lease", with_fleet(_long)),
    Scenario("F29 frozen and thawed", with_fleet(_frozen, size=2)),
)
