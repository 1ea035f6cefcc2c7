"""Where the measurements take place: a private Redis, a worker of each system, what they use."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import redis

from umbel.testing.servers import redis_server

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
BIN = Path(sys.executable).parent

WORKER_BY_SYSTEM: dict[str, list[str]] = {
    "celery": ["celery", "-A", "benchmarks.apps.celery_app", "worker", "-c", "2", "-l", "ERROR"],
    "umbel": ["umbel", "-A", "benchmarks.apps.umbel_app", "worker", "-c", "2", "-l", "ERROR"],
    "dramatiq": ["dramatiq", "benchmarks.apps.dramatiq_app", "-p", "2"],
    "taskiq": [
        *("taskiq", "worker", "benchmarks.apps.taskiq_app:broker"),
        *("-w", "2", "--log-level", "ERROR"),
    ],
    "huey": ["huey_consumer", "benchmarks.apps.huey_app.huey", "-k", "process", "-w", "2", "-q"],
}
"""Each with two processes that run tasks; everything else as it comes, but for the log."""

DISTRIBUTIONS = ("umbel", "celery", "kombu", "dramatiq", "taskiq", "taskiq-redis", "huey", "redis")


@contextmanager
def private_redis() -> Iterator[redis.Redis]:
    """A client of a redis-server of our own, which keeps nothing on disk."""
    with redis_server() as server, redis.Redis(port=server.port) as client:
        yield client


@contextmanager
def somewhere(system: str) -> Iterator[tuple[str, str]]:
    """A fresh place for a system to work in: its name without the place, and the address."""
    name, _, place = system.partition("-")
    if place == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield name, f"sqlite:///{folder}/queue.db"
    else:
        with private_redis() as client:
            yield name, url_of(client)


def url_of(client: redis.Redis) -> str:
    """The server's address, as programs take it."""
    return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


def environment(url: str, broker: str | None = None, *, confirmed: bool = False) -> dict[str, str]:
    """What the programs under test are started with; a SQLite address goes to umbel alone.

    Args:
        broker: Where the messages go, if not where the results go.
        confirmed: Whether Celery waits until RabbitMQ has a message, as umbel does.
    """
    extra = {"BENCH_SQLITE": url} if url.startswith("sqlite") else {"BENCH_REDIS": url}
    if broker is not None:
        extra["BENCH_BROKER"] = broker
    if confirmed:
        extra["BENCH_CONFIRMED"] = "1"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BENCH_")}
    # Celery warns about root on every start; dramatiq and taskiq look for modules on the path.
    return {**kept, **extra, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


@contextmanager
def worker(
    system: str, url: str, *extra: str, broker: str | None = None
) -> Iterator[psutil.Process]:
    """A worker of ``system``; ended politely, then not."""
    name, *arguments = WORKER_BY_SYSTEM[system]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [str(BIN / name), *arguments, *extra],
            env=environment(url, broker),
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield psutil.Process(process.pid)
        finally:
            end(process)
            log.seek(0)
            text = log.read().decode(errors="replace")
            if process.returncode > 0 or "Traceback" in text:
                sys.stderr.write(f"[{system} worker, exit {process.returncode}]\n{text[-2000:]}\n")


def end(process: subprocess.Popen[bytes]) -> None:
    """TERM to the worker; after five seconds KILL to everything it started."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def produce(
    system: str,
    url: str,
    what: str,
    count: int,
    *,
    broker: str | None = None,
    confirmed: bool = False,
) -> dict[str, float]:
    """Let a fresh process of ``system`` produce; see :mod:`benchmarks.produce`."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.produce", system, what, str(count)],
        env=environment(url, broker, confirmed=confirmed),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def wait_until(ready: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Look every few milliseconds."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} was not ready within {seconds} s")
        time.sleep(0.005)


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "-"
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "python": platform.python_version(),
        "processors": str(os.cpu_count()),
        "model": processor_model(),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "commit": commit.stdout.strip() or "-",
        **versions,
    }


def processor_model() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), "-"
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned for the terminal as well."""
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [headings, ["-" * width for width in widths], *rows]
    ]
    return "\n".join(lines)


def publish(name: str, figures: Mapping[str, object], text: str) -> None:
    """Print the table and keep it, with the figures and the machine, under ``results/``."""
    about = machine()
    print(text, flush=True)
    RESULTS.mkdir(exist_ok=True)
    document = {"machine": about, "figures": figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
    described = ", ".join(f"{key} {value}" for key, value in about.items())
    (RESULTS / f"{name}.md").write_text(f"# {name}\n\n{described}\n\n{text}\n")
