"""Tasks that wait for their time, more than a worker could keep in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery

from umbel.testing.servers import RabbitMQServer

from .ledger import until
from .scenarios import Scenario, with_fleet
from .site import Fleet
from .stage import Outcome, Stage

__all__ = ["WAITING"]

_LATER = 3600.0
_BATCH = 1000
_MOST_GROWTH = 20.0
"""MB."""


def _resident(pid: int) -> float:
    """MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


def _by_umbel(stage: Stage, count: int) -> None:
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        stage.site.send("late", range(start, start + size), countdown=_LATER)


def _by_celery(stage: Stage, count: int) -> None:
    """In a queue of its own in Celery's way: what is not due goes to whoever takes it."""
    with Celery("sender", broker=stage.site.broker, set_as_current=False) as sender:
        sender.conf.task_ignore_result = True
        with sender.producer_pool.acquire(block=True) as producer:
            for number in range(count):
                sender.send_task(
                    "tasks.late", (number,), countdown=_LATER, producer=producer, retry=False
                )


def _waits_for(send: Callable[[Stage, int], None]) -> Callable[[Stage, Fleet], Outcome]:
    def play(stage: Stage, fleet: Fleet) -> Outcome:
        stage.send("late", 1, 0.0)
        until(stage.results[0].ready, 60, "the worker works")
        before = _resident(fleet.trees[0].process.pid)
        count = round(100_000 * stage.scale)
        began = time.monotonic()
        send(stage, count)
        took = time.monotonic() - began
        until(lambda: _kept(stage) >= count, 600, "all of them wait in the broker")
        time.sleep(5)
        grown = _resident(fleet.trees[0].process.pid) - before
        stage.kill(fleet.trees[0])
        fleet.tend()
        stage.probe()
        outcome = stage.finish(fleet)
        # What a worker had in hand when it was killed is back when its lease has run out.
        until(lambda: _kept(stage) >= count, 60, "all of them still wait in the broker")
        outcome.sent += count
        outcome.note = f"{grown:+.1f} MB, sent within {took:.0f} s"
        if grown > _MOST_GROWTH:
            outcome.wrong = "the worker has grown"
        return outcome

    return play


def _kept(stage: Stage) -> int:
    """How many messages wait for their time in the broker."""
    server = stage.site.server
    if isinstance(server, RabbitMQServer):
        lines = server.control("list_queues", "name", "messages_ready").splitlines()[1:]
        counts = dict(line.split("\t") for line in lines)
        return sum(int(n) for name, n in counts.items() if name.startswith("celery_delayed"))
    return _delayed(stage.site.app)


def _delayed(app: Any) -> int:
    async def ask() -> int:
        broker = app.make_broker()
        await broker.open()
        try:
            return int((await broker.stats(["celery"]))["celery"].delayed)
        finally:
            await broker.close()

    return asyncio.run(ask())


WAITING = (
    Scenario("F27 100,000 ETA", with_fleet(_waits_for(_by_umbel))),
    Scenario(
        "F27 100,000 ETA of Celery's",
        with_fleet(_waits_for(_by_celery)),
        ("redis", "rabbitmq"),
    ),
)
