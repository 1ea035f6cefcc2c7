"""``make faults``: every fault on every broker, and a table of what came of the tasks.

``python -m tests.faults.run [--scale 1.0] [--broker redis] [--only F8] [--jobs 3]``; how to read
the table is in ``docs/internals/faults.md``. What ends is said at once on standard error; the table
comes at the end, also when interrupted. The exit code is 1 when anything is not as it must be, or
has not been run.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from umbel.testing.servers import ServerMissing

from .crashes import CRASHES
from .crowds import CROWDS
from .flows import FLOWS
from .lives import LIVES
from .outages import OUTAGES
from .refusals import REFUSALS
from .scenarios import SCENARIOS, Scenario
from .site import BROKERS, somewhere
from .soak import SOAK
from .stage import Outcome, Stage
from .times import TIMES
from .waiting import WAITING
from .wires import WIRES
from .workflows import WORKFLOWS

ALL = tuple(
    sorted(
        (
            *SCENARIOS,
            *WIRES,
            *OUTAGES,
            *LIVES,
            *WAITING,
            *REFUSALS,
            *FLOWS,
            *TIMES,
            *CROWDS,
            *SOAK,
            *CRASHES,
            *WORKFLOWS,
        ),
        key=lambda scenario: int(scenario.name.split()[0].removeprefix("F")),
    )
)
HEAD = ("fault", "broker", "sent", "lost", "never ended", "again", "unexplained", "reported")
HEAD += ("recovery", "took")
WIDTHS = (32, 9, 6, 5, 12, 6, 12, 9, 9, 7, 0)
_MOST = 1800.0
"""Seconds after which a row is stuck."""
_CLEANS_UP = 30.0


@dataclass(frozen=True)
class Row:
    """One fault on one broker."""

    scenario: Scenario
    broker: str

    def __str__(self) -> str:
        return f"{self.scenario.name} on {self.broker}"


@dataclass
class Result:
    """What came of a row."""

    took: float
    outcome: Outcome | None = None
    error: str = ""

    @property
    def is_good(self) -> bool:
        """Whether all was as it must be."""
        return self.outcome is not None and self.outcome.is_good


@dataclass
class Running:
    """A row in a process of its own."""

    row: Row
    process: Any
    since: float


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="1.0 is 200 kills as it fetches")
    parser.add_argument("--broker", action="append", choices=BROKERS)
    parser.add_argument("--only", action="append", help="how its name begins: F8, 'F11 classic'")
    parser.add_argument("--skip", action="append", help="likewise, what is left out")
    parser.add_argument("--lease", type=float, default=20.0, help="seconds; the default's is 20")
    parser.add_argument("--jobs", type=int, default=3, help="how many rows at a time")
    parser.add_argument("--list", action="store_true", help="only say which rows there are")
    options = parser.parse_args()
    rows = list(chosen(options.broker or BROKERS, options.only, options.skip or ()))
    if options.list:
        print("\n".join(map(str, rows)))
        return 0
    results: dict[Row, Result] = {}
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        play_all(rows, options.jobs, options.scale, options.lease, results)
    except KeyboardInterrupt:
        print("interrupted: the rows that have ended are", file=sys.stderr)
    print(table(rows, results))
    print(summary(rows, results, time.monotonic() - began), flush=True)
    return int(len(results) < len(rows) or not all(each.is_good for each in results.values()))


def chosen(
    brokers: Iterable[str], only: Iterable[str] | None, skip: Iterable[str]
) -> Iterator[Row]:
    """The rows, in the order of the table."""
    for scenario in ALL:
        if only is not None and not any(begins(scenario.name, each) for each in only):
            continue
        if any(begins(scenario.name, each) for each in skip):
            continue
        for broker in brokers:
            if broker in scenario.brokers:
                yield Row(scenario, broker)


def begins(name: str, words: str) -> bool:
    """Whether it begins with these words: F4 is not F41."""
    return re.match(rf"{re.escape(words)}\b", name) is not None


def play_all(
    rows: Iterable[Row], jobs: int, scale: float, lease: float, results: dict[Row, Result]
) -> None:
    """Some at a time, each in a process of its own and with servers of its own."""
    # Those that take long first, so that none of them is left over at the end.
    waiting = sorted(rows, key=lambda row: not row.scenario.is_long)
    total = len(waiting)
    running: dict[Connection, Running] = {}
    context = multiprocessing.get_context("spawn")
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                row = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(
                    target=play_alone, args=(theirs, row.scenario.name, row.broker, scale, lease)
                )
                process.start()
                theirs.close()
                running[ours] = Running(row, process, time.monotonic())
            for ended in wait([*running], timeout=1.0):
                assert isinstance(ended, Connection)
                one = running.pop(ended)
                results[one.row] = received(ended, one)
                say(one.row, results[one.row], len(results), total, running.values())
            for pipe, one in [*running.items()]:
                if time.monotonic() - one.since > _MOST:
                    del running[pipe]
                    end(one)
                    results[one.row] = Result(_MOST, error=f"STUCK: not within {_MOST:g} s")
    finally:
        for one in running.values():
            end(one)


def received(pipe: Connection, one: Running) -> Result:
    """What a row's process has to say; it ends."""
    took = time.monotonic() - one.since
    try:
        said = pipe.recv()
    except EOFError:
        said = ""
    one.process.join()
    if isinstance(said, Outcome):
        return Result(took, said)
    return Result(took, error=said or f"its process ended with {one.process.exitcode}")


def end(one: Running) -> None:
    """Ask its process to clean up, and see to it that it is gone."""
    one.process.terminate()
    one.process.join(_CLEANS_UP)
    if one.process.is_alive():
        one.process.kill()
        one.process.join()


def play_alone(pipe: Connection, name: str, broker: str, scale: float, lease: float) -> None:
    """In a process of its own: say what came of it."""
    # Its workers and servers are ended on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    [scenario] = [each for each in ALL if each.name == name]
    with contextlib.suppress(KeyboardInterrupt):
        try:
            pipe.send(play(scenario, broker, scale, lease))
        except ServerMissing as missing:
            pipe.send(str(missing))
        except Exception as stuck:
            pipe.send(f"STUCK: {type(stuck).__name__}: {stuck}")


def play(scenario: Scenario, broker: str, scale: float, lease: float) -> Outcome:
    """One fault on one broker, in a place of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        somewhere(broker, Path(folder), lease=lease) as site,
    ):
        return scenario.play(Stage(site, scale, fault_at=time.monotonic()))


def say(row: Row, result: Result, ended: int, total: int, running: Iterable[Running]) -> None:
    """How far it is."""
    now = time.monotonic()
    others = ", ".join(f"{each.row} ({now - each.since:.0f} s)" for each in running)
    print(f"[{ended}/{total}] {line(cells(row, result))}", file=sys.stderr)
    if others:
        print(f"    running: {others}", file=sys.stderr, flush=True)


def table(rows: Iterable[Row], results: dict[Row, Result]) -> str:
    """What there is, in order; those that failed say why."""
    return "\n".join(
        (line(HEAD), *(line(cells(row, results[row])) for row in rows if row in results))
    )


def summary(rows: list[Row], results: dict[Row, Result], took: float) -> str:
    """One line, and one for each repeat that nothing explains."""
    bad = [str(row) for row, result in results.items() if not result.is_good]
    said = f"{len(results)} of {len(rows)} rows in {took / 60:.1f} minutes, {len(bad)} failed"
    lines = [f"{said}: {', '.join(bad)}" if bad else said]
    for row, result in results.items():
        if result.outcome is not None:
            lines += [f"{row}: {each}" for each in result.outcome.repeats.unexplained]
    return "\n".join(lines)


def cells(row: Row, result: Result) -> tuple[str, ...]:
    """What the table says of it."""
    first = (row.scenario.name, row.broker)
    outcome = result.outcome
    if outcome is None:
        return (*first, result.error)
    why = (str(outcome.repeats), outcome.note)
    good = () if outcome.is_good else (f"<- FAILED {outcome.wrong}".rstrip(),)
    return (
        *(*first, str(outcome.sent), str(outcome.lost), str(outcome.never_ended)),
        *(str(outcome.repeats.total), str(len(outcome.repeats.unexplained))),
        *(str(outcome.reported), f"{outcome.recovery:.1f} s", f"{result.took:.0f} s"),
        "; ".join(each for each in (*why, *good) if each),
    )


def line(cells: tuple[str, ...]) -> str:
    """Columns."""
    return " ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=False)).rstrip()


if __name__ == "__main__":
    sys.exit(main())
