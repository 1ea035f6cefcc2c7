"""Faults of the others on the same server: who gives orders, who watches, and Celery."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

from celery import Celery
from kombu import Connection, Producer
from redis import Redis

from umbel.testing.servers import RabbitMQServer, RedisServer

from .ledger import Tree, until
from .scenarios import Play, Scenario, with_fleet
from .site import Fleet
from .stage import Outcome, Stage

__all__ = ["CROWDS"]

_SERVERS = ("redis", "rabbitmq")
_GARBAGE = (
    b"",
    b"\xff\xfe\x00",
    b"null",
    b'{"body": "!", "properties": {}}',
    b"[" * 100_000,
    b'{"body": "bnVsbA==", "properties": {"body_encoding": "base64"}, "headers": {}}',
)
_PIDBOX, _EVENTS = "celery.pidbox", "celeryev"
_PINGS = 10_000
_MOST_SLOWER = 3.0
"""Times that tasks may take longer when somebody listens who is stuck; events cost something, and
machines are busy."""


def _say(stage: Stage, exchange: str, garbage: bytes) -> None:
    """Whatever it is, to all who listen."""
    server = stage.site.server
    match server:
        case RedisServer():
            name = f"/0.{exchange}" if exchange == _PIDBOX else f"/0.{exchange}/worker.heartbeat"
            with Redis(port=server.port) as client:
                client.publish(name, garbage)
        case RabbitMQServer():
            with Connection(stage.site.broker) as connection:
                Producer(connection).publish(
                    garbage,
                    exchange=exchange,
                    routing_key="worker.heartbeat",
                    content_type="application/json",
                    content_encoding="utf-8",
                )
        case _:
            # Nobody but umbel writes into its file.
            pass


def _ordered_about(stage: Stage, fleet: Fleet) -> Outcome:
    """Ten thousand pings, orders that make no sense, and what is no order at all."""
    control = stage.site.app.control
    stage.send("late", 100, 0.03)
    stage.started(4)
    for garbage in _GARBAGE:
        _say(stage, _PIDBOX, garbage)
    orders: tuple[tuple[str, dict[str, Any]], ...] = (
        ("no_such_order", {}),
        ("rate_limit", {"task_name": 3, "rate_limit": []}),
        ("pool_grow", {"n": "many"}),
        ("revoke", {"task_id": {"not": "an id"}}),
        ("time_limit", {"task_name": None, "soft": "x"}),
        ("add_consumer", {"queue": 5}),
        ("ping", {"unasked": 1}),
    )
    for order, arguments in orders:
        control.broadcast(order, arguments=arguments)
    for _ in range(round(_PINGS * stage.scale) + 10):
        control.broadcast("ping")
    stage.struck()
    stage.probe()
    outcome = stage.finish(fleet)
    until(lambda: len(control.ping(timeout=5)) == 1, 60, "it answers")
    outcome.wrong = "the worker ended" if fleet.restarts else ""
    return outcome


def _deaf(stage: Stage) -> Outcome:
    """Anybody who reaches the server may give orders; workers that take none stay."""
    stage.site.env["DEAF"] = "1"

    def play(stage: Stage, fleet: Fleet) -> Outcome:
        stage.send("late", 60, 0.03)
        stage.started(4)
        stage.site.app.control.broadcast("shutdown")
        stage.site.app.control.broadcast("revoke", arguments={"task_id": stage.results[-1].id})
        stage.struck()
        stage.probe()
        outcome = stage.finish(fleet)
        if fleet.restarts or stage.site.ledger.count("end")[59] != 1:
            outcome.wrong = "it obeyed"
        return outcome

    return with_fleet(play)(stage)


def _took(stage: Stage, count: int) -> float:
    began = time.monotonic()
    stage.send("late", count, 0.0)
    until(lambda: all(each.ready() for each in stage.results), 120, "they end")
    return time.monotonic() - began


def _watched(stage: Stage, fleet: Fleet) -> Outcome:
    """Somebody listens to events and does not move; others say what is none."""
    count = round(2000 * stage.scale) + 100
    _took(stage, 20)
    alone = _took(stage, count)
    watcher = stage.site.start("events", "--dump")
    try:
        until(lambda: _has_heard(watcher), 60, "the watcher hears")
        watcher.process.send_signal(signal.SIGSTOP)
        for garbage in _GARBAGE:
            _say(stage, _EVENTS, garbage)
        stage.struck()
        watched = _took(stage, count)
        stage.recovered = 0.0
        outcome = stage.finish(fleet)
        watcher.process.send_signal(signal.SIGCONT)
        heard = watcher.log.read_text().count("task succeeded")
        stage.send("late", 1, 0.0)
        until(lambda: watcher.log.read_text().count("task succeeded") > heard, 60, "it hears again")
    finally:
        watcher.kill()
    outcome.note = f"{count} tasks in {alone:.2f} s, then in {watched:.2f} s"
    if watched > _MOST_SLOWER * alone + 2:
        outcome.wrong = "who watches holds them up"
    outcome.wrong = outcome.wrong or ("the worker ended" if fleet.restarts else "")
    return outcome


def _has_heard(watcher: Tree) -> bool:
    assert watcher.process.poll() is None, "the watcher has ended"
    return "heartbeat" in watcher.log.read_text()


def _from_celery(strike: Callable[[Stage, Fleet], None]) -> Play:
    """Celery sends, umbel runs."""

    def play(stage: Stage, fleet: Fleet) -> Outcome:
        with Celery("sender", broker=stage.site.broker, set_as_current=False) as sender:
            for number in range(round(160 * stage.scale) + 40):
                sent = sender.send_task("tasks.late", (number, 0.02))
                stage.results.append(stage.site.app.AsyncResult(sent.id))
        # It sends so slowly that there would be nothing left.
        fleet.trees.append(stage.site.worker())
        for _ in range(int(2 * stage.scale) + 1):
            stage.started(5)
            strike(stage, fleet)
            fleet.tend()
        return stage.finish(fleet)

    return with_fleet(play, size=0)


def _worker_killed(stage: Stage, fleet: Fleet) -> None:
    stage.kill(fleet.trees[0])


def _broker_killed(stage: Stage, _: Fleet) -> None:
    server = stage.site.server
    assert server is not None
    # Celery's queues are classic ones.
    with stage.outage(forgets=60.0 if isinstance(server, RabbitMQServer) else 0.0):
        server.kill()
        time.sleep(1)
        server.start()


def _to_celery(stage: Stage) -> Outcome:
    """umbel sends, Celery's worker runs, is killed, and an umbel worker takes its place."""
    theirs = Fleet(stage.site, app="celery_tasks", program="celery")
    ours = Fleet(stage.site, 0)
    try:
        count = round(80 * stage.scale) + 40
        stage.send("late", count, 0.05)
        stage.started(10)
        stage.kill(theirs.trees.pop())
        ours.trees.append(stage.site.worker())
        stage.probe()
        # Celery's stores no results here: what it had acknowledged shows in the ledger only.
        ledger = stage.site.ledger
        ours.until(lambda: len(ledger.count("end")) >= len(stage.results), 90, "they end")
        ended = {*ledger.count("end")}
        stage.forgiven = {n for n in range(count) if n in ended}
        outcome = stage.finish(ours)
        outcome.sent = len(stage.results)
        return outcome
    finally:
        theirs.kill()
        ours.kill()


_WATCHED: Play = with_fleet(_watched, "-E")

CROWDS = (
    Scenario("F55 10,000 pings, garbage", with_fleet(_ordered_about)),
    Scenario("F55 orders to who takes none", _deaf),
    Scenario("F56 a watcher is stuck", _WATCHED),
    Scenario("F58 Celery sends, killed", _from_celery(_worker_killed), _SERVERS),
    Scenario("F58 Celery sends, broker killed", _from_celery(_broker_killed), _SERVERS),
    Scenario("F58 Celery's worker killed", _to_celery, ("rabbitmq",)),
)
