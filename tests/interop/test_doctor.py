"""``umbel doctor`` beside schedulers of the real Celery, which answer nobody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from umbel.testing.servers import rabbitmq_server, redis_server

pytestmark = pytest.mark.timeout(600)

BIN = Path(sys.executable).parent
PATIENCE = 60.0
PROJECT = """
import os
from {module} import {name}

app = {name}("proj", broker=os.environ["BROKER"])
app.conf.beat_schedule = {{"often": {{"task": "proj.tick", "schedule": 0.3}}}}
app.conf.beat_scheduler = "celery.beat:Scheduler"


@app.task(name="proj.tick")
def tick(): pass


{more}
"""
UNKNOWN = '@app.task(name="proj.new")\ndef new(): pass\n'


LONG = pytest.mark.skipif(
    not os.environ.get("UMBEL_LONG_TESTS"), reason="takes a minute more: set UMBEL_LONG_TESTS=1"
)


@pytest.fixture(params=["redis", pytest.param("rabbitmq", marks=LONG)])
def broker(request: pytest.FixtureRequest) -> Iterator[str]:
    with redis_server() if request.param == "redis" else rabbitmq_server() as server:
        yield server.url()


def test_two_silent_schedulers_and_an_unknown_task_are_found(broker: str, tmp_path: Path) -> None:
    ours = PROJECT.format(module="umbel", name="Umbel", more="")
    (tmp_path / "ours.py").write_text(ours)
    (tmp_path / "newer.py").write_text(ours + UNKNOWN)
    theirs = PROJECT.format(module="celery", name="Celery", more=UNKNOWN)
    (tmp_path / "theirs.py").write_text(theirs)
    environment = {**os.environ, "BROKER": broker, "C_FORCE_ROOT": "true"}

    def begin(stack: ExitStack, *command: str) -> None:
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                cwd=tmp_path,
                env=environment,
                stdout=log,
                stderr=log,
            )

        def end() -> None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        stack.callback(end)

    def findings(app: str) -> Any:
        done = subprocess.run(
            [str(BIN / "umbel"), "-A", app, "doctor", "--json", "-t", "3"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode in {0, 1}, done.stderr
        return {(each["about"], each["level"]): each["text"] for each in json.loads(done.stdout)}

    def until(app: str, *found: tuple[str, str]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not set(found) <= (seen := findings(app)).keys():
            assert time.monotonic() < deadline, f"{seen}\n{(tmp_path / 'log').read_text()[-3000:]}"
        return seen

    with ExitStack() as stack:
        begin(stack, "umbel", "-A", "ours", "worker", "-c", "1", "-n", "one@here")
        begin(stack, "celery", "-A", "theirs", "beat", "--schedule", str(tmp_path / "a"))
        deadline = time.monotonic() + PATIENCE
        while ("no-workers", "error") in findings("newer"):
            assert time.monotonic() < deadline
        seen = until("newer", ("unknown-task", "warning"))
        assert seen["unknown-task", "warning"] == "no worker knows the task 'proj.new'."
        assert ("two-schedulers", "error") not in seen

        begin(stack, "celery", "-A", "theirs", "beat", "--schedule", str(tmp_path / "b"))
        text = until("newer", ("two-schedulers", "error"))["two-schedulers", "error"]
        assert text.startswith("periodic tasks come from several schedulers by turns: gen")
        # An app of the real Celery is looked at with the same eyes.
        seen = until("theirs", ("two-schedulers", "error"), ("unknown-task", "warning"))
        assert "proj.new" in seen["unknown-task", "warning"]
