"""Why a task ran again: which of its runs a fault cut short, and which nothing explains.

Every task notes in the ledger when, and in which process, it starts and ends; whoever strikes notes
whom and when. A run may be repeated once, if and only if

* it was under way as its process, or all of its worker, died or froze (*cut short*); or it had
  ended so shortly before that its acknowledgement was on its way: its worker has started no more
  since than it may leave unacknowledged; or its worker could not store its result, and
  acknowledges nothing without (*unsettled*);
* it was under way, or being acknowledged, while its worker and the server could not hear each
  other, or while the server was dead (*cut off*);
* somebody sent the same message again (*sent again*).

And never, where the task is acknowledged before it runs. Whatever else runs again is unexplained.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

__all__ = ["Accounts", "Repeats", "Run", "Strike"]

_ON_ITS_WAY = 1.0
"""Seconds that the acknowledgement of a run that has ended may take, on a busy machine."""
_BATCHED = 0.0005
"""Seconds. While tasks take less on average, their acknowledgements go together, and a slot goes on
meanwhile; while they take longer, it waits for each (umbel.worker.settling.exposure)."""
_AT_ONCE = 2
"""How many tasks a worker of the suite runs at a time."""
_AHEAD = 0.05
"""Seconds before it starts that a task may have been handed to its process."""


@dataclass(frozen=True)
class Run:
    """One run of one task, as the ledger has it. Times are of the machine's monotonic clock."""

    number: int
    group: int
    """The worker: the process group."""
    pid: int
    start: float
    end: float | None = None
    once: bool = False
    """Acknowledged before it runs."""
    deadly: bool = False
    """Kills the process that runs it."""


@dataclass(frozen=True)
class Strike:
    """What was done, to whom, from when until when."""

    begin: float
    end: float
    group: int | None = None
    pid: int | None = None
    """Neither: to the server, or to all the wires to it."""
    keeps_since: float | None = None
    """From when on whoever dies could acknowledge nothing, if that is known."""
    forgets: float = 0.0
    """Seconds of acknowledgements that a server has not on disk as it dies."""

    def is_death(self) -> bool:
        """Of a worker or a process."""
        return self.group is not None or self.pid is not None


@dataclass
class Repeats:
    """How many runs were not the first of their task, and why."""

    cut_short: int = 0
    unsettled: int = 0
    cut_off: int = 0
    sent_again: int = 0
    unexplained: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All of them."""
        explained = self.cut_short + self.unsettled + self.cut_off + self.sent_again
        return explained + len(self.unexplained)

    def __str__(self) -> str:
        words = ("cut_short", "unsettled", "cut_off", "sent_again")
        parts = [f"{getattr(self, word)} {word.replace('_', ' ')}" for word in words]
        return ", ".join(part for part in parts if not part.startswith("0 "))


@dataclass
class Accounts:
    """What was done to whom."""

    strikes: list[Strike] = field(default_factory=list)
    sent_again: Counter[int] = field(default_factory=Counter)
    """How many more messages there are of a task than one."""

    def died(
        self,
        *,
        group: int | None = None,
        pid: int | None = None,
        begin: float,
        end: float,
        keeps_since: float | None = None,
    ) -> None:
        """A worker, or one process of one, died or froze between these two moments."""
        self.strikes.append(Strike(begin, end, group, pid, keeps_since))

    def cut_off(self, begin: float, end: float, *, forgets: float = 0.0) -> None:
        """Nobody could talk to the server, from the one moment to the other."""
        self.strikes.append(Strike(begin, end, forgets=forgets))

    def repeats(self, runs: Iterable[Run]) -> Repeats:
        """Explain all runs but the first of each task, or do not."""
        by_number: dict[int, list[Run]] = defaultdict(list)
        workers: dict[int, _Worker] = defaultdict(_Worker)
        for run in sorted(runs, key=lambda each: each.start):
            # Poison and tasks that nobody counts have negative ones.
            if run.number >= 0:
                by_number[run.number].append(run)
            workers[run.group].add(run)
        repeats = Repeats()
        for number, ran in by_number.items():
            self._explain(ran, workers, self.sent_again[number], repeats)
        return repeats

    def _explain(
        self,
        ran: Sequence[Run],
        workers: Mapping[int, _Worker],
        sent_again: int,
        repeats: Repeats,
    ) -> None:
        earlier: list[Run] = []
        for run, again in pairwise(ran):
            earlier.append(run)
            if reason := self._use_up(earlier, again, workers):
                setattr(repeats, reason, getattr(repeats, reason) + 1)
            elif sent_again:
                sent_again -= 1
                repeats.sent_again += 1
            else:
                repeats.unexplained.append(self._said(run, again, workers[run.group]))

    def _use_up(self, earlier: list[Run], again: Run, workers: Mapping[int, _Worker]) -> str:
        """Why one of them did not count; it explains nothing else then."""
        for run in earlier:
            if reason := self._reason(run, again, workers[run.group]):
                earlier.remove(run)
                return reason
        return ""

    def _reason(self, run: Run, again: Run, worker: _Worker) -> str:
        if run.once:
            return ""
        if run.deadly:
            return "cut_short"
        for strike in self.strikes:
            if run.start > strike.end or again.start < strike.begin:
                continue
            if not strike.is_death():
                if run.end is None or run.end >= strike.begin - _ON_ITS_WAY - strike.forgets:
                    return "cut_off"
            elif strike.group == run.group or strike.pid == run.pid:
                if run.end is None or run.end > strike.end:
                    return "cut_short"
                if worker.had_not_settled(run, strike):
                    return "unsettled"
        return ""

    def _said(self, run: Run, again: Run, worker: _Worker) -> str:
        took = "never" if run.end is None else f"{run.end - run.start:.3f} s later"
        deaths = [f"{each.begin:.3f}" for each in self.strikes if each.group == run.group]
        after = len(worker.after(run, float("inf"))) if run.end is not None else 0
        return (
            f"{run.number} started in {run.pid} of {run.group} at {run.start:.3f}, ended {took}; "
            f"again in {again.pid} of {again.group} at {again.start:.3f}; its worker died at "
            f"{', '.join(deaths) or 'no time'}, and had started {after} after it"
        )


class _Worker:
    """What ran in one worker, and how long it took tasks to be."""

    def __init__(self) -> None:
        self._ran: list[Run] = []

    def add(self, run: Run) -> None:
        """In the order in which they start."""
        self._ran.append(run)

    def had_not_settled(self, run: Run, strike: Strike) -> bool:
        """Whether what had ended may not have been acknowledged yet."""
        assert run.end is not None
        if strike.keeps_since is not None and run.end >= strike.keeps_since:
            return True
        if run.end < strike.begin - _ON_ITS_WAY:
            return False
        waits = len(self.after(run, strike.end)) < _AT_ONCE
        return waits or self._took_for_short(run)

    def after(self, run: Run, until: float) -> list[Run]:
        """What started between its end and then."""
        assert run.end is not None
        return [each for each in self._ran if run.end < each.start <= until]

    def _took_for_short(self, run: Run) -> bool:
        """Whether its worker believed that tasks are short, when it handed this one out."""
        mean, then = 2 * _BATCHED, 2 * _BATCHED
        since = run.start - _AHEAD
        for end, took in sorted((r.end, r.end - r.start) for r in self._ran if r.end is not None):
            if end > run.start:
                break
            growth = took - mean
            mean += growth * (0.5 if growth > 0 else 0.1)
            then = min(then, mean) if end > since else mean
        return then < _BATCHED
