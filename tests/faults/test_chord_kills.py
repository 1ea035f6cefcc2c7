"""``kill -9`` of worker trees that run a chord: its body runs once, or its failure is seen."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel, chord
from umbel.exceptions import ChordError, WorkerLostError

from .ledger import Ledger, Tree, until

# They kill at moments that load would move.
pytestmark = pytest.mark.alone

KILLS = int(os.environ.get("UMBEL_CHORD_KILLS", "5"))
SIZE = 200
LEASE = 2.0

TASKS = """
import os, time
from umbel import Umbel

app = Umbel("chords")
app.conf.worker_lease = float(os.environ["LEASE"])
ledger = os.open(os.environ["LEDGER"], os.O_APPEND | os.O_WRONLY)


def note(event, number):
    os.write(ledger, f"{event} {number}\\n".encode())


@app.task(acks_late=True, reject_on_worker_lost=True)
def late(number, seconds):
    time.sleep(seconds)
    note("end", number)
    return number


@app.task
def early(number, seconds):
    time.sleep(seconds)
    note("end", number)
    return number


@app.task(acks_late=True, reject_on_worker_lost=True)
def body(values, number):
    note("body", number)
    note("values", len(set(values)))
    return len(values)


@app.task
def sorry(task_id, number):
    note("sorry", number)
"""


class Site:
    """A project folder with tasks, a broker, a ledger, and a client of it."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "tasks.py").write_text(TASKS)
        self.folder = folder
        self.ledger = Ledger(folder / "ledger")
        self.env = {
            "LEDGER": str(self.ledger.path),
            "UMBEL_BROKER_URL": url,
            "UMBEL_RESULT_BACKEND": url,
            "PYTHONPATH": str(folder),
            "LEASE": str(LEASE),
        }
        self.app = Umbel("chords", broker=url, backend=url, set_as_current=False)

    def worker(self) -> Tree:
        return Tree(self.folder, "-c", "2", env=self.env)

    def send(self, kind: str, number: int) -> Any:
        """A chord of tasks of that kind."""
        members = [
            self.app.signature(f"tasks.{kind}", (number * SIZE + n, 0.001)) for n in range(SIZE)
        ]
        body = self.app.signature("tasks.body", (number,))
        body.link_error(self.app.signature("tasks.sorry", (number,)))
        return chord(members, app=self.app)(body)

    def wait_for(self, worker: Tree) -> None:
        """Until it works: before, it cannot be asked to stop."""
        assert worker.process.poll() is None
        self.app.send_task("tasks.late", (-1, 0.0)).get(timeout=60)

    def has_apologised(self, number: int) -> bool:
        return self.ledger.count("sorry")[number] > 0

    def ended(self) -> int:
        return sum(self.ledger.count("end").values())


@pytest.fixture(params=["sqlite", "redis"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'queue.db'}"
    else:
        url = request.getfixturevalue("redis_url")
    site = Site(tmp_path, url)
    yield site
    site.app.close()


def killed_while_it_works(site: Site, rng: random.Random) -> None:
    """Start a worker, and kill it after it has ended some of the members, perhaps all."""
    before = site.ended()
    moment = before + rng.randint(1, SIZE)
    worker = site.worker()
    try:
        until(lambda: site.ended() >= moment, 60, "the worker runs members")
        time.sleep(rng.uniform(0.0, 0.02))
    finally:
        worker.kill()


@pytest.mark.timeout(60 + 60 * KILLS)
def test_the_body_of_a_chord_with_late_acknowledgement_runs_once(site: Site) -> None:
    rng = random.Random(20261121)
    for number in range(KILLS):
        result = site.send("late", number)
        killed_while_it_works(site, rng)
        # A body that is killed as it runs is delivered again, as any task is.
        begun = site.ledger.count("body")[number]
        worker = site.worker()
        assert outcome(result) == "ran"
        site.wait_for(worker)
        assert worker.stop() == 0

        assert 1 <= site.ledger.count("body")[number] <= 1 + begun
    assert set(site.ledger.count("values")) == {SIZE}
    assert sum(site.ledger.count("sorry").values()) <= KILLS


@pytest.mark.timeout(60 + 60 * KILLS)
def test_a_chord_with_early_acknowledgement_ran_or_says_what_was_lost(site: Site) -> None:
    rng = random.Random(20261122)
    ends: list[str] = []
    for number in range(KILLS // 2):
        result = site.send("early", number)
        killed_while_it_works(site, rng)
        worker = site.worker()
        ends.append(outcome(result))
        if ends[-1] == "ran":
            assert site.ledger.count("body")[number] == 1
        else:
            # Of a member, or of the body itself.
            assert re.search("Dependency .* raised .*WorkerLost|had begun the task", ends[-1])
            heard = partial(site.has_apologised, number)
            until(heard, 60, "the error callback has run")
        site.wait_for(worker)
        assert worker.stop() == 0
        assert site.ledger.count("sorry")[number] == (ends[-1] != "ran")
    print(ends)


def outcome(result: Any) -> str:
    try:
        assert result.get(timeout=60) == SIZE
    except (ChordError, WorkerLostError) as error:
        return str(error)
    return "ran"
