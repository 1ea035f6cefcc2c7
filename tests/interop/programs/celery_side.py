"""Real Celery's side of every test."""

from __future__ import annotations

import json
import os
from typing import Any

import work
from celery import Celery
from kombu import Queue
from kombu.common import Broadcast

redis = os.environ["INTEROP_REDIS"]
app = Celery(
    "interop",
    broker=os.environ.get("INTEROP_BROKER", redis),
    backend=os.environ.get("INTEROP_BACKEND", redis),
)
app.conf.update(
    accept_content=["json", "yaml", "msgpack", "pickle"], result_accept_content=["json"]
)
app.conf.update(json.loads(os.environ.get("INTEROP_SETTINGS", "{}")))
if broadcast := os.environ.get("INTEROP_BROADCAST"):
    app.conf.task_queues = [Queue(name) for name in work.queues()] + [Broadcast(broadcast)]


@app.task(name="interop.side")
def side() -> str:
    return "celery"


@app.task(name="interop.add")
def add(x: float, y: float) -> float:
    return x + y


@app.task(name="interop.echo")
def echo(*args: Any, **kwargs: Any) -> list[Any]:
    return work.echo(*args, **kwargs)


@app.task(name="interop.fail")
def fail(text: str) -> None:
    raise ValueError(text)


@app.task(name="interop.flaky", bind=True, max_retries=3)
def flaky(self: Any) -> int:
    if self.request.retries < 2:
        raise self.retry(exc=ConnectionError("not yet"), countdown=0.1)
    return int(self.request.retries)


@app.task(name="interop.record")
def record(path: str, number: int) -> int:
    return work.record(path, "celery", number)


@app.task(name="interop.gather")
def gather(values: list[Any], path: str) -> list[Any]:
    return work.gather(values, path, "celery")


@app.task(name="interop.slow", acks_late=True)
def slow(path: str, seconds: float) -> str:
    return work.slow(path, "celery", seconds)


@app.task(name="interop.sleep")
def sleep(seconds: float) -> float:
    return work.sleep(seconds)


@app.task(name="interop.about", bind=True)
def about(self: Any) -> dict[str, Any]:
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


@app.task(name="interop.staged", bind=True)
def staged(self: Any, path: str) -> str:
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    work.wait_for(path)
    return "done"


@app.task(name="interop.quiet", ignore_result=True)
def quiet(path: str) -> None:
    work.note(path, "ran")


@app.task(name="interop.mourn")
def mourn(request: Any, error: Any, traceback: Any, path: str) -> None:
    work.note(path, f"{request.id} {type(error).__name__} {error}")


@app.task(name="interop.total")
def total(values: list[float]) -> float:
    return sum(values)


@app.task(name="interop.late_record", acks_late=True)
def late_record(path: str, number: int) -> int:
    return work.record(path, "celery", number)
