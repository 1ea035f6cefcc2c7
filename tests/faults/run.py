"""``make faults``: every fault on every broker, and a table of what came of the tasks.

``python -m tests.faults.run [--scale 1.0] [--broker redis] [--only F8]``; the exit code is 1 when
anything was lost or has never ended.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from umbel.testing.servers import ServerMissing

from .flows import FLOWS
from .lives import LIVES
from .outages import OUTAGES
from .refusals import REFUSALS
from .scenarios import SCENARIOS, Outcome, Scenario, Stage
from .site import BROKERS, somewhere
from .waiting import WAITING
from .wires import WIRES

ALL = (*SCENARIOS, *WIRES, *OUTAGES, *LIVES, *WAITING, *REFUSALS, *FLOWS)
HEAD = ("fault", "broker", "sent", "lost", "run twice", "never ended", "reported", "recovery")


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1.0 is 200 kills as it fetches")
    parser.add_argument("--broker", action="append", choices=BROKERS)
    parser.add_argument("--only", action="append", help="its first word: F8")
    parser.add_argument("--lease", type=float, default=20.0)
    options = parser.parse_args()
    failed = False
    print(line(HEAD), flush=True)
    for scenario in ALL:
        if options.only and not scenario.name.startswith(
            tuple(f"{each} " for each in options.only)
        ):
            continue
        for broker in options.broker or BROKERS:
            if broker not in scenario.brokers:
                continue
            try:
                outcome = play(scenario, broker, options.scale, options.lease)
            except ServerMissing as missing:
                print(line((scenario.name, broker, str(missing))), flush=True)
                failed = True
                continue
            except (AssertionError, RuntimeError, TimeoutError) as stuck:
                print(line((scenario.name, broker, f"STUCK: {stuck}")), flush=True)
                failed = True
                continue
            failed = failed or not outcome.is_good
            print(line(row(scenario, broker, outcome)), flush=True)
    return int(failed)


def play(scenario: Scenario, broker: str, scale: float, lease: float) -> Outcome:
    """One fault on one broker, in a place of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        somewhere(broker, Path(folder), lease=lease) as site,
    ):
        return scenario.play(Stage(site, scale, fault_at=time.monotonic()))


def row(scenario: Scenario, broker: str, outcome: Outcome) -> tuple[str, ...]:
    """What the table says of it."""
    good = "" if outcome.is_good else f"  <- FAILED {outcome.wrong}".rstrip()
    twice = f"{outcome.run_twice} ({outcome.repeated})"
    return (
        *(scenario.name, broker, str(outcome.sent), str(outcome.lost), twice),
        *(str(outcome.never_ended), str(outcome.reported)),
        f"{outcome.recovery:.1f} s {outcome.note}{good}",
    )


def line(cells: tuple[str, ...]) -> str:
    """Columns."""
    widths = (32, 9, 6, 5, 10, 12, 9, 0)
    return " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)).rstrip()


if __name__ == "__main__":
    sys.exit(main())
