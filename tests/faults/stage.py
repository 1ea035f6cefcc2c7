"""One run of one fault: what is sent, when it strikes, and what came of the tasks."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from umbel.exceptions import WorkerLostError

from .accounts import Repeats
from .ledger import Tree, until
from .site import Fleet, Site

__all__ = ["Outcome", "Stage"]

_CONNECTED = 2.0
"""Seconds within which a client has noticed that there is a server again."""


@dataclass
class Outcome:
    """What came of the tasks of one fault."""

    sent: int = 0
    lost: int = 0
    """Neither run to their end nor reported as failed; nobody will hear of them."""
    never_ended: int = 0
    """Without a final state."""
    repeats: Repeats = field(default_factory=Repeats)
    """Runs beyond the first of each task."""
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
        counted = self.lost or self.never_ended or self.repeats.unexplained or self.wrong
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
    forgiven: set[int] = field(default_factory=set)
    """Those of which nobody can know any more: a server has been told to forget them."""
    probes: set[int] = field(default_factory=set)
    """Those sent after the fault; the first of them that ends is the recovery."""
    _marked: int = 0
    """How many starts there were when :meth:`started` begins to count."""
    started_before: set[int] | None = None
    """Those that had started when the fault was over; the first other one that does is the
    recovery."""

    def send(self, task: str, count: int, *args: object, **options: Any) -> None:
        """Send that many more."""
        start = len(self.results)
        self._marked = self.site.starts()
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
        self._marked = self.site.starts()

    def struck(self) -> None:
        """A fault has just struck."""
        self.fault_at = time.monotonic()
        self.ends_before = self.site.ledger.total("end")
        self._marked = self.site.starts()

    def kill(self, tree: Tree) -> None:
        """A worker and all of its processes, at once."""
        tree.kill()
        self.struck()

    def kill_process(self, pid: int) -> None:
        """One process of a worker."""
        begin = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self.struck()
        self.site.accounts.died(pid=pid, begin=begin, end=self.fault_at)

    def freeze(self, tree: Tree, *, keeps_since: float | None = None) -> None:
        """A worker and all of its processes, until they are thawed.

        Args:
            keeps_since: From when on it could store no results: it acknowledges nothing without.
        """
        begin = time.monotonic()
        os.killpg(tree.process.pid, signal.SIGSTOP)
        self.struck()
        accounts = self.site.accounts
        accounts.died(
            group=tree.process.pid, begin=begin, end=self.fault_at, keeps_since=keeps_since
        )

    def thaw(self, tree: Tree) -> None:
        """It goes on as if nothing had been."""
        os.killpg(tree.process.pid, signal.SIGCONT)

    @contextmanager
    def outage(self, *, forgets: float = 0.0) -> Iterator[None]:
        """Server and workers do not hear each other meanwhile.

        Args:
            forgets: For how many seconds the server, which dies, may not have written down what
                it was told.
        """
        self.struck()
        begin = self.fault_at
        try:
            yield
        finally:
            self.healed()
            self.site.accounts.cut_off(begin, self.fault_at + _CONNECTED, forgets=forgets)

    def started(self, more: int = 1, timeout: float = 40) -> None:
        """Wait until more tasks have started, since the last were sent, or a fault struck or was
        over, or this was asked: whoever asks may be late himself."""
        until(lambda: self.site.starts() >= self._marked + more, timeout, "tasks start")
        self._marked = self.site.starts()

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
        ends = self.site.ledger.count("end")
        outcome.never_ended = len(waiting)
        unended = {id(each) for each in waiting}
        outcome.lost = sum(
            id(each) in unended and not ends[number] for number, each in enumerate(self.results)
        )
        outcome.repeats = self.site.repeats()
        outcome.reported = sum(
            isinstance(each.result, WorkerLostError)
            for number, each in enumerate(self.results)
            if number not in self.forgiven and id(each) not in unended
        )
        return outcome

    def _has_recovered(self) -> bool:
        if self.started_before is not None:
            return not self.started_before.issuperset(self.site.ledger.count("start"))
        if self.probes:
            return not self.probes.isdisjoint(self.site.ledger.count("end"))
        return self.site.ledger.total("end") > self.ends_before
