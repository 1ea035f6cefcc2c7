"""What the apps of both sides have in common: settings, and tasks that do the same work."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TASKS: list[tuple[Callable[..., Any], dict[str, Any]]] = []


def prepare(app: Any) -> None:
    """Give an app of either side the settings of its worker, and the tasks below."""
    app.conf.update(
        accept_content=["json", "yaml", "msgpack", "pickle"], result_accept_content=["json"]
    )
    app.conf.update(json.loads(os.environ.get("INTEROP_SETTINGS", "{}")))
    for function, options in _TASKS:
        app.task(name=f"interop.{function.__name__}", **options)(function)


def addresses() -> dict[str, str]:
    """Where the tests have their broker and result backend, by the app's arguments."""
    redis = os.environ["INTEROP_REDIS"]
    return {
        "broker": os.environ.get("INTEROP_BROKER", redis),
        "backend": os.environ.get("INTEROP_BACKEND", redis),
    }


def queues() -> list[str]:
    """The queues of this worker, beside a broadcast one."""
    return os.environ["INTEROP_QUEUES"].split(",")


def note(path: str, text: str) -> None:
    """Add one line to a file that several processes write to."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{text}\n".encode())
    finally:
        os.close(handle)


def wait_for(path: str) -> None:
    """Until somebody makes that file."""
    deadline = time.monotonic() + 30
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def task(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make it a task of both sides."""

    def note_it(function: Callable[..., Any]) -> Callable[..., Any]:
        _TASKS.append((function, options))
        return function

    return note_it


def side_of(task: Any) -> str:
    """Whose the app is that runs a task: ``celery`` or ``umbel``."""
    return type(task.app).__module__.partition(".")[0]


@task(bind=True)
def side(self: Any) -> str:
    """Say who runs it."""
    return side_of(self)


@task()
def add(x: float, y: float) -> float:
    """Add two numbers."""
    return x + y


@task()
def total(values: list[float]) -> float:
    """Add many numbers."""
    return sum(values)


@task()
def echo(*args: Any, **kwargs: Any) -> list[Any]:
    """Give back what came."""
    return [list(args), kwargs]


@task()
def fail(text: str) -> None:
    """Fail."""
    raise ValueError(text)


@task(bind=True, max_retries=3)
def flaky(self: Any) -> int:
    """Succeed the third time."""
    if self.request.retries < 2:
        raise self.retry(exc=ConnectionError("not yet"), countdown=0.1)
    return int(self.request.retries)


@task(bind=True)
def record(self: Any, path: str, number: int) -> int:
    """Leave a trace of every run, and take long enough for two workers to share the queue."""
    note(path, f"{side_of(self)} {number}")
    time.sleep(0.004)
    return number


@task(bind=True, acks_late=True)
def late_record(self: Any, path: str, number: int) -> int:
    """The same, acknowledged when it has ended."""
    return record(self, path, number)


@task(bind=True)
def gather(self: Any, values: list[Any], path: str) -> list[Any]:
    """The body of a chord: leave a trace, and give back what came."""
    note(path, f"{side_of(self)} body")
    return values


@task(bind=True, acks_late=True)
def slow(self: Any, path: str, seconds: float) -> str:
    """Say when it began and when it ended."""
    note(path, f"{side_of(self)} begin {time.time()}")
    time.sleep(seconds)
    note(path, f"{side_of(self)} end {time.time()}")
    return side_of(self)


@task()
def sleep(seconds: float) -> float:
    """Take a while."""
    time.sleep(seconds)
    return seconds


@task(bind=True)
def about(self: Any) -> dict[str, Any]:
    """What a task sees of its message."""
    request = self.request
    return {
        "mine": request.headers.get("mine") if request.headers else None,
        "priority": request.delivery_info.get("priority"),
        "routing_key": request.delivery_info.get("routing_key"),
        "root_id": request.root_id,
        "group": request.group,
        "reply_to": bool(request.reply_to),
        "origin": request.origin,
    }


@task(bind=True)
def staged(self: Any, path: str) -> str:
    """Say how far it is, and wait until somebody makes that file."""
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    wait_for(path)
    return "done"


@task(ignore_result=True)
def quiet(path: str) -> None:
    """Leave a trace and no result."""
    note(path, "ran")


@task()
def mourn(request: Any, error: Any, traceback: Any, path: str) -> None:
    """An error callback: leave a trace of whose failure it heard of."""
    note(path, f"{request.id} {type(error).__name__} {error}")
