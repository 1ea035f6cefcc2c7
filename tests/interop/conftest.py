"""A private Redis, a real worker of either side on it, and both clients in the test's process."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, NamedTuple

import celery
import pytest

from umbel import Umbel
from umbel.compat.release import __version__
from umbel.testing.servers import rabbitmq_server, redis_server

collect_ignore = ["programs/fixtures"]
"""Tests that other tests run."""

PROGRAMS = Path(__file__).parent / "programs"
BIN = Path(sys.executable).parent
PATIENCE = 60.0
"""Seconds anything may take here."""


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Celery's results are collected while their server is there: they talk to it then, and try
    for twenty seconds when it is gone, in whatever test runs by that time."""
    yield
    gc.collect()


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


class Standing(NamedTuple):
    """A worker that many tests call, on servers of its own."""

    url: str
    """Redis: where results are, and the tasks unless there is another broker."""
    broker: str | None
    worker: Worker


@contextmanager
def client_of(side: str, url: str, broker: str | None = None) -> Iterator[Any]:
    """What a program of either side calls with."""
    kind: type[Any] = {"celery": celery.Celery, "umbel": Umbel}[side]
    broker = broker or os.environ.get("INTEROP_BROKER", url)
    backend = os.environ.get("INTEROP_BACKEND", url)
    app = kind(f"{side}-client", broker=broker, backend=backend, set_as_current=False)
    yield app
    if side == "celery" and backend == "rpc://" and app.backend.result_consumer._consumer:
        # Celery leaves its connection for results open.
        app.backend.result_consumer.stop()
    app.close()


@pytest.fixture
def celery_client(redis_url: str) -> Iterator[celery.Celery]:
    with client_of("celery", redis_url) as app:
        yield app


@pytest.fixture
def umbel_client(redis_url: str) -> Iterator[Umbel]:
    with client_of("umbel", redis_url) as app:
        yield app


@pytest.fixture
def make_client(redis_url: str) -> Iterator[Callable[[str], Any]]:
    """What either side calls with, once the test has said over which broker."""
    with ExitStack() as stack:
        yield lambda side: stack.enter_context(client_of(side, redis_url))


@pytest.fixture(params=["redis", "rabbitmq"])
def over(request: pytest.FixtureRequest) -> str:
    """The broker that the tests of calls go over; results are in Redis."""
    kind: str = request.param
    return kind


@pytest.fixture(scope="session")
def standing(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str, str], Standing]]:
    """A worker of either side over a broker, started when it is first asked for."""
    found: dict[tuple[str, str], Standing] = {}
    servers: dict[str, str] = {}
    with ExitStack() as stack:

        def standing(side: str, over: str) -> Standing:
            if (side, over) not in found:
                url = stack.enter_context(redis_server()).url()
                if over == "rabbitmq" and over not in servers:
                    servers[over] = stack.enter_context(rabbitmq_server()).url()
                broker = servers.get(over)
                folder = tmp_path_factory.mktemp(side)
                # Queues of their own: both sides' workers share one RabbitMQ.
                queue = f"{side}-{over}"
                settings: dict[str, object] = {"task_default_queue": queue}
                worker = launch(side, queue, settings, url, folder, broker=broker)
                stack.callback(worker.end)
                wait_until_ready(worker, queue, url, broker)
                found[side, over] = Standing(url, broker, worker)
            return found[side, over]

        yield standing


@pytest.fixture
def client(
    request: pytest.FixtureRequest, standing: Callable[[str, str], Standing], over: str
) -> Iterator[Any]:
    """A client of the first side, on the servers of the other side's worker."""
    side, worker_side = request.param
    there = standing(worker_side, over)
    begin = there.worker.log.stat().st_size
    with client_of(side, there.url, there.broker) as app:
        app.conf.task_default_queue = f"{worker_side}-{over}"
        yield app
    print(f"--- {there.worker.log.name}\n{there.worker.log.read_text()[begin:]}")


@pytest.fixture
def start(redis_url: str, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start a worker of the test's own, and wait until it works."""
    workers: list[Worker] = []

    def start(side: str, *, broadcast: str = "", **settings: object) -> Worker:
        name = f"{side}-{len(workers)}"
        worker = launch(side, name, settings, redis_url, tmp_path, broadcast=broadcast)
        workers.append(worker)
        wait_until_ready(worker, name, redis_url)
        return worker

    yield start

    for worker in workers:
        worker.end()
        print(f"--- {worker.log.name}, exit {worker.process.returncode}")
        print(worker.log.read_text())


def wait_until_ready(worker: Worker, queue: str, url: str, broker: str | None = None) -> None:
    """Ask in a queue that this worker alone consumes, so that the answer comes from nobody else."""
    with client_of("celery", url, broker) as app:
        answer = app.send_task("interop.side", queue=queue)
        wait_for(answer, worker)
        assert answer.get(timeout=PATIENCE) == worker.side


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
    settings: dict[str, object],
    url: str,
    folder: Path,
    program: str = "side",
    *,
    broadcast: str = "",
    broker: str | None = None,
) -> Worker:
    command = [str(BIN / side), "-A", f"{side}_{program}", "worker", "-c", "2", "-l", "INFO"]
    queues = f"celery,{name}"
    # With a broadcast queue task_queues says it all: what -Q names is made beside it.
    command += ["-n", f"{name}@%h", *([] if broadcast else ["-Q", queues])]
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=PROGRAMS,
            env={
                **os.environ,
                "INTEROP_REDIS": url,
                **({"INTEROP_BROKER": broker} if broker else {}),
                "INTEROP_SETTINGS": json.dumps(settings),
                "INTEROP_QUEUES": queues,
                "INTEROP_BROADCAST": broadcast,
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


@pytest.fixture(scope="session")
def source() -> Path:
    """Celery's source distribution, unpacked: from the folder that ``UMBEL_CELERY_SOURCE`` names,
    else from the package index by pip; where there is neither, the tests are skipped."""
    given = os.environ.get("UMBEL_CELERY_SOURCE")
    if given:
        return Path(given)
    kept = Path(gettempdir()) / f"umbel-celery-{__version__}"
    if not kept.exists():
        _fetch(kept)
    return kept


def _fetch(kept: Path) -> None:
    pip = shutil.which("pip") or pytest.skip("no pip to fetch Celery's source distribution with")
    wanted = f"celery=={__version__}"
    command = [pip, "download", wanted, "--no-binary", "celery", "--no-deps", "--quiet"]
    with TemporaryDirectory(dir=kept.parent) as folder:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=90, check=False
        )
        if done.returncode:
            pytest.skip(f"the package index has not given Celery's source: {done.stderr[-300:]}")
        with tarfile.open(next(Path(folder).glob("celery-*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        try:
            # Whoever comes first: several processes may run these tests.
            (Path(folder) / f"celery-{__version__}").rename(kept)
        except OSError:
            assert kept.exists()
