"""Schedulers in processes of their own: killed and frozen, they run no time twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from umbel import Umbel
from umbel.wire import headers as wire_headers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

SECONDS = float(os.environ.get("UMBEL_BEAT_SECONDS", "14"))
FROZEN = float(os.environ.get("UMBEL_BEAT_FROZEN", "8"))
"""Seconds; longer than the lease of a leader, which is six."""

PROGRAM = """
import os
from umbel import Umbel

app = Umbel("beats", broker=os.environ["BROKER"])
app.conf.update(
    beat_schedule_store=os.environ.get("STORE") or None,
    beat_schedule={
        "every": {"task": "every", "schedule": 1, "missed": "all"},
        "sparse": {
            "task": "sparse", "schedule": 1, "missed": "skip", "options": {"queue": "sparse"},
        },
    },
)


@app.task(name="every")
def every():
    pass
"""


class Beats:
    """Schedulers on one broker."""

    def __init__(self, folder: Path, url: str, store: str) -> None:
        (folder / "beats.py").write_text(PROGRAM)
        self.folder = folder
        self.environment = {**os.environ, "BROKER": url, "STORE": store}
        self.app = Umbel(
            "reader", broker=url, set_as_current=False, beat_schedule_store=store or None
        )
        self.processes: list[subprocess.Popen[bytes]] = []
        self.begin = time.time()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"beat-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    Path(sys.executable).parent / "umbel",
                    "-A",
                    "beats",
                    "beat",
                    "-l",
                    "INFO",
                    *arguments,
                ],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self.processes.append(process)
        return process

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("beat-*.log")))

    def leader(self) -> subprocess.Popen[bytes]:
        """Who has said last that it leads."""
        said = []
        for number, process in enumerate(self.processes):
            for line in (self.folder / f"beat-{number}.log").read_text().splitlines():
                found = re.search(r"Leading \(term (\d+)\)", line)
                if found:
                    said.append((int(found[1]), process))
        return max(said, key=lambda pair: pair[0])[1]

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, f"not {what}:\n{self.logs()}"
            time.sleep(0.05)

    def fired(self, queue: str) -> list[float]:
        """The times that were run, in order, of what waits in a queue.

        Where schedule and messages are kept apart, a scheduler that dies between sending a task
        and noting that leaves the next one in doubt: it sends the same task again, which its id
        gives away.
        """

        async def take() -> list[float]:
            broker = await self.app.connections.broker()
            found: dict[str, float] = {}
            while batch := await broker.receive([queue], limit=500, wait=0.2):
                await broker.ack(batch)
                for delivery in batch:
                    slot = wire_headers.read(delivery.message)["umbel_scheduled_for"]
                    id = delivery.message.id
                    assert self.environment["STORE"] or id not in found, "sent twice"
                    found[id] = datetime.fromisoformat(str(slot)).timestamp()
            return sorted(found.values())

        return self.app.portal.call(take)

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        print(self.logs())
        self.app.close()


@pytest.fixture(params=["sqlite", "redis", "sqlite beside redis"])
def beats(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Beats]:
    file = f"sqlite:///{tmp_path / 'beats.db'}"
    url = file if request.param == "sqlite" else request.getfixturevalue("redis_url")
    made = Beats(tmp_path, url, file if "beside" in request.param else "")
    yield made
    made.end()


def skipped(beats: Beats, name: str) -> int:
    found = re.findall(rf"Skipped (\d+) missed times of {name}\.", beats.logs())
    return sum(map(int, found))


@pytest.mark.slow
@pytest.mark.parametrize("beats", ["sqlite", "redis"], indirect=True)
def test_leaders_are_killed_and_frozen_and_every_time_is_run_once_or_reported(
    beats: Beats,
) -> None:
    beats.start()
    beats.until(lambda: "Sending due task every" in beats.logs(), "sending")
    beats.start()
    beats.until(lambda: "Standing by" in beats.logs(), "standing by")

    for _ in range(2):
        beats.leader().kill()
        before = beats.logs().count("Leading (term")
        beats.start()
        beats.until(lambda n=before: beats.logs().count("Leading (term") > n, "taken over")
    frozen = beats.leader()
    frozen.send_signal(signal.SIGSTOP)
    before = beats.logs().count("Leading (term")
    beats.until(lambda: beats.logs().count("Leading (term") > before, "taken over")
    time.sleep(max(FROZEN - 6, 1))
    frozen.send_signal(signal.SIGCONT)
    time.sleep(max(SECONDS - 12, 2))
    beats.end()

    every = beats.fired("celery")
    assert Counter(Counter(every).values()).keys() == {1}, "a time was run twice"
    gaps = [round(later - earlier, 3) for earlier, later in pairwise(every)]
    assert set(gaps) == {1.0}, "a time was lost"
    sparse = beats.fired("sparse")
    assert Counter(Counter(sparse).values()).keys() == {1}
    times = round(sparse[-1] - sparse[0]) + 1
    assert len(sparse) + skipped(beats, "sparse") >= times
    assert len(sparse) <= times


@pytest.mark.parametrize("beats", ["sqlite beside redis"], indirect=True)
def test_a_scheduler_that_is_killed_goes_on_from_where_it_was(beats: Beats) -> None:
    first = beats.start()
    beats.until(lambda: beats.logs().count("Sending due task every") >= 2, "sending")
    first.kill()
    first.wait()

    beats.start()
    beats.until(lambda: beats.logs().count("Sending due task every") >= 10, "sending again")
    beats.end()

    every = beats.fired("celery")
    gaps = {round(later - earlier, 3) for earlier, later in pairwise(every)}
    assert gaps == {1.0}


def test_it_says_what_it_is_and_ends_when_told(beats: Beats) -> None:
    process = beats.start("--max-interval", "0.5")
    beats.until(lambda: "Leading (term" in beats.logs(), "leading")

    process.terminate()

    assert process.wait(60) == 0
    assert "umbel beat v" in beats.logs()
    assert "beat: Starting..." in beats.logs()
    assert "maxinterval -> 0.50 seconds" in beats.logs()
    # It left the place to others.
    beats.start()
    beats.until(lambda: beats.logs().count("Leading (term") == 2, "leading at once")


def run_cli(beats: Beats, *arguments: str) -> str:
    done = subprocess.run(
        [Path(sys.executable).parent / "umbel", "-A", "beats", "schedule", *arguments],
        cwd=beats.folder,
        env=beats.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_schedule_is_changed_from_the_command_line_while_it_runs(beats: Beats) -> None:
    beats.start()
    beats.until(lambda: "Leading (term" in beats.logs(), "leading")

    run_cli(beats, "add", "more", "every", "0.5", "--queue", "more")
    beats.until(lambda: "Sending due task more" in beats.logs(), "sending what was added")
    run_cli(beats, "pause", "every", "sparse", "more")
    run_cli(beats, "add", "rare", "every", "@yearly", "--args", "[1]")
    run_cli(beats, "run", "rare")
    beats.until(lambda: "Sending due task rare" in beats.logs(), "running what was asked for")

    listed = {entry["name"]: entry for entry in json.loads(run_cli(beats, "list", "--json"))}
    assert listed["more"]["paused"]
    assert listed["rare"]["runs"] == 1
    assert listed["rare"]["args"] == [1]
    assert len(run_cli(beats, "preview", "rare", "-n", "3").splitlines()) == 3
    run_cli(beats, "remove", "more", "rare")
    assert "rare" not in run_cli(beats, "list")


def test_a_worker_schedules_too_when_asked(beats: Beats) -> None:
    with (beats.folder / "beat-0.log").open("wb") as log:
        beats.processes.append(
            subprocess.Popen(
                [
                    *(Path(sys.executable).parent / "umbel", "-A", "beats", "worker", "-B"),
                    *("-l", "INFO", "-P", "threads", "-c", "2", "-Q", "celery"),
                ],
                cwd=beats.folder,
                env=beats.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        )
    beats.until(lambda: len(re.findall(r"Task every\[\S+ succeeded", beats.logs())) >= 2, "done")

    beats.processes[0].terminate()

    assert beats.processes[0].wait(60) == 0
