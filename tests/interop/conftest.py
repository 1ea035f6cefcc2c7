"""A private Redis, a real worker of either side on it, and both clients in the test's process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import celery
import pytest

from umbel import Umbel
from umbel.testing.servers import ServerMissing, redis_server, required

PROGRAMS = Path(__file__).parent / "programs"
BIN = Path(sys.executable).parent
PATIENCE = 30.0
"""Seconds anything may take here."""


class Worker:
    """A worker in processes of its own."""

    def __init__(self, side: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.side = side
        self.process = process
        self.log = log

    def kill(self) -> None:
        """As the kernel would when memory runs out: all of it, at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """Politely; then not."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()


@pytest.fixture
def redis_url() -> Iterator[str]:
    try:
        with redis_server() as server:
            yield server.url()
    except ServerMissing as missing:
        if required("redis"):
            raise
        pytest.skip(str(missing))


@pytest.fixture
def celery_client(redis_url: str) -> Iterator[celery.Celery]:
    app = celery.Celery("celery-client", broker=redis_url, backend=redis_url, set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def umbel_client(redis_url: str) -> Iterator[Umbel]:
    app = Umbel("umbel-client", broker=redis_url, backend=redis_url, set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Any:
    """Either client, by the test's parameter."""
    return request.getfixturevalue(f"{request.param}_client")


@pytest.fixture
def start(
    redis_url: str, tmp_path: Path, celery_client: celery.Celery
) -> Iterator[Callable[..., Worker]]:
    """Start a worker and wait until it works."""
    workers: list[Worker] = []

    def start(side: str, *options: str, **settings: object) -> Worker:
        name = f"{side}-{len(workers)}"
        worker = launch(side, name, options, settings, redis_url, tmp_path)
        workers.append(worker)
        # A queue that this worker alone consumes, so that the answer comes from nobody else.
        answer = celery_client.send_task("interop.side", queue=name)
        wait_for(answer, worker)
        assert answer.get(timeout=PATIENCE) == side
        return worker

    yield start

    for worker in workers:
        worker.end()
        print(f"--- {worker.log.name}, exit {worker.process.returncode}")
        print(worker.log.read_text())


def wait_for(answer: Any, worker: Worker) -> None:
    """Until the worker has answered, or has ended."""
    deadline = time.monotonic() + PATIENCE
    while not answer.ready():
        assert worker.process.poll() is None, f"it ended:\n{worker.log.read_text()}"
        assert time.monotonic() < deadline, f"it does not answer:\n{worker.log.read_text()}"
        time.sleep(0.05)


def launch(
    side: str,
    name: str,
    options: tuple[str, ...],
    settings: dict[str, object],
    url: str,
    folder: Path,
) -> Worker:
    command = [str(BIN / side), "-A", f"{side}_side", "worker", "-c", "2", "-l", "INFO"]
    command += ["-Q", f"celery,{name}", "-n", f"{name}@%h", *options]
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=PROGRAMS,
            env={
                **os.environ,
                "INTEROP_REDIS": url,
                "INTEROP_SETTINGS": json.dumps(settings),
                "PYTHONWARNINGS": "ignore",
                # Celery refuses to read pickle as root otherwise, and containers are root.
                "C_FORCE_ROOT": "1",
            },
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    return Worker(side, process, log)


@pytest.fixture
def lines_of() -> Callable[[Path, int], list[str]]:
    """The lines of a file that others write, once there are enough of them."""

    def lines_of(path: Path, count: int) -> list[str]:
        deadline = time.monotonic() + PATIENCE
        while True:
            lines = path.read_text().splitlines() if path.exists() else []
            if len(lines) >= count:
                return lines
            assert time.monotonic() < deadline, f"only {lines}"
            time.sleep(0.05)

    return lines_of
