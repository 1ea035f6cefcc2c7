"""Every signal of Celery's, with its arguments, for the same life of a worker on either side."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import celery
import celery.signals
import pytest
from celery.utils.dispatch import Signal

pytestmark = pytest.mark.timeout(600)

PROGRAMS = Path(__file__).parent / "programs"
BIN = Path(sys.executable).parent
PATIENCE = 60.0
"""Seconds anything may take: processes start slowly when others are busy."""

EVERY = {name for name, each in vars(celery.signals).items() if isinstance(each, Signal)}
GREEN = {name for name in EVERY if name.startswith("eventlet_")}
LOGGING = {"setup_logging"}

Told = dict[str, tuple[set[str], dict[str, set[str]]]]
"""By signal: the kinds of its senders, and those of each argument."""


class Life:
    """What one side does, and what it is told meanwhile."""

    def __init__(self, side: str, url: str, folder: Path, **more: str) -> None:
        self.side = side
        self.url = url
        self.file = folder / f"{side}.told"
        self.log = folder / f"{side}.log"
        self.environment = {
            **os.environ,
            "TOLD_SIDE": side,
            "TOLD_REDIS": url,
            "TOLD_FILE": str(self.file),
            "C_FORCE_ROOT": "true",
            **more,
        }

    def told(self) -> Told:
        found: Told = defaultdict(lambda: (set(), defaultdict(set)))
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        for line in lines:
            said = json.loads(line)
            senders, kinds = found[said["signal"]]
            senders.add(said["sender"])
            for name, kind in said["args"].items():
                kinds[name].add(kind)
        return found

    def run(self, work: Callable[[], None], *command: str) -> None:
        """Do something while a command runs; then end that."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [str(BIN / self.side), "-A", "told", *command],
                cwd=PROGRAMS,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            work()
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def until(self, *names: str) -> None:
        """Wait until these signals have been sent."""
        deadline = time.monotonic() + PATIENCE
        while missing := set(names) - self.told().keys():
            assert time.monotonic() < deadline, f"{self.side}: {missing}\n{self.log.read_text()}"
            time.sleep(0.05)

    def send(self) -> None:
        """Send what has every end that a task can have."""
        self.until("worker_ready")
        app = celery.Celery("client", broker=self.url, backend=self.url, set_as_current=False)
        app.conf.task_default_queue = f"told-{self.side}"
        app.control.revoke("away")
        app.control.inspect(timeout=PATIENCE, limit=1).ping()
        app.send_task("told.good", (1,), task_id="away")
        app.send_task("no.such.task")
        app.send_task("told.good", (1,), serializer="pickle")
        for name in ("bad", "flaky", "unlucky", "publish"):
            app.send_task(f"told.{name}")
        app.send_task("told.good", (1,)).get(timeout=PATIENCE)
        app.close()
        self.until(
            *("task_revoked", "task_unknown", "task_rejected", "task_failure", "task_retry"),
            *("task_internal_error", "task_success", "after_task_publish", "heartbeat_sent"),
        )


def live(side: str, url: str, folder: Path) -> Told:
    """A worker with a scheduler in it, a scheduler, and a worker that logs in another way."""
    life = Life(side, url, folder)
    life.run(life.send, "worker", "-B", "-n", f"{side}@told", "-l", "INFO")
    life.until("worker_shutdown", "worker_process_shutdown")
    beat = Life(side, url, folder / "beat")
    beat.run(lambda: beat.until("beat_init"), "beat")
    logging = Life(side, url, folder / "logging", TOLD_LOGGING="yes")
    logging.run(lambda: logging.until("setup_logging"), "worker", "-c", "1")
    return life.told() | {
        name: told for each in (beat, logging) for name, told in each.told().items()
    }


@pytest.fixture(scope="module")
def both(redis_for_module: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    found = {}
    for side in ("celery", "umbel"):
        folder = tmp_path_factory.mktemp(side)
        for part in ("beat", "logging"):
            (folder / part).mkdir()
        found[side] = live(side, redis_for_module, folder)
    return found


def test_all_of_celerys_signals_are_sent(both: dict[str, Told]) -> None:
    assert len(EVERY) == 34
    for side, told in both.items():
        assert EVERY - GREEN - told.keys() == set(), side


@pytest.mark.parametrize("name", sorted(EVERY - GREEN))
def test_a_signal_has_celerys_arguments(both: dict[str, Told], name: str) -> None:
    theirs, ours = both["celery"][name], both["umbel"][name]
    assert ours[1].keys() == theirs[1].keys()
    # Celery's tracebacks are text at times, and its states None.
    for argument, kinds in ours[1].items():
        assert kinds <= theirs[1][argument], argument
    assert ours[0] == theirs[0]


@pytest.mark.skipif(importlib.util.find_spec("eventlet") is None, reason="needs eventlet")
def test_the_eventlet_pool_sends_what_celerys_sends(redis_for_module: str, tmp_path: Path) -> None:
    told: dict[str, Any] = {}
    for side in ("celery", "umbel"):
        life = Life(side, redis_for_module, tmp_path)

        def work(life: Life = life, side: str = side) -> None:
            life.until("worker_ready")
            app = celery.Celery("client", broker=redis_for_module, backend=redis_for_module)
            sent = app.send_task("told.good", (1,), queue=f"told-{side}")
            assert sent.get(timeout=PATIENCE) == 1
            app.close()

        life.run(work, "worker", "-P", "eventlet", "-c", "2", "-n", f"{side}@green")
        life.until(*GREEN)
        told[side] = {name: life.told()[name][1] for name in GREEN}
    assert told["umbel"] == told["celery"]
