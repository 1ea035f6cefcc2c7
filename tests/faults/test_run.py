"""The table itself: it comes at the end, and when somebody has seen enough."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .ledger import until
from .run import HEAD, line

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
    pytest.mark.timeout(240),
]


def run(*arguments: str, folder: Path, said: Path) -> subprocess.Popen[str]:
    """As ``make faults`` does it."""
    with said.open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.run", "--broker", "sqlite", *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )


def at_work_in(folder: Path) -> list[str]:
    """The processes whose working directory is there."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        try:
            where = cwd.readlink()
        except OSError:
            continue
        if where.is_relative_to(folder):
            found.append(cwd.parent.name)
    return found


def test_an_interrupted_table_has_what_has_ended_and_leaves_nobody_behind(tmp_path: Path) -> None:
    folder, said = tmp_path / "sites", tmp_path / "said"
    folder.mkdir()
    running = run("--only", "F28", "--only", "F57", "--jobs", "2", folder=folder, said=said)
    try:
        until(lambda: "[1/2] F57 sent twice" in said.read_text(), 100, "one row has ended")
        running.send_signal(signal.SIGINT)
        table, _ = running.communicate(timeout=60)
    finally:
        running.kill()

    lines = table.splitlines()
    assert lines[0] == line(HEAD)
    # On a busy machine, the other one may have ended, too, before it could be interrupted.
    *ended, last = lines[1:]
    assert ended[-1].startswith("F57 sent twice with one id       sqlite    20     0     0 ")
    assert last.startswith(f"{len(ended)} of 2 rows in ")
    assert running.returncode == int(len(ended) < 2)
    assert at_work_in(folder) == []
    assert [*folder.iterdir()] == []


def test_the_rows_are_chosen_by_how_their_names_begin(tmp_path: Path) -> None:
    chosen = run("--list", "--only", "F4", "--only", "F11", folder=tmp_path, said=tmp_path / "said")

    assert chosen.communicate(timeout=60)[0].splitlines() == ["F4 parent killed on sqlite"]
