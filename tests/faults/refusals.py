"""Faults of servers, disks and messages that say no for a while, or for good."""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Thread

from umbel.exceptions import OperationalError
from umbel.model import Message
from umbel.testing.servers import RabbitMQServer, RedisServer

from .ledger import until
from .scenarios import Scenario, with_fleet
from .site import Fleet
from .stage import Outcome, Stage

__all__ = ["REFUSALS"]

_AWAY = 8.0
"""Seconds."""
_BOUNDED = 60.0
"""Seconds within which a client must hear that the server takes nothing."""


def _redis(stage: Stage) -> RedisServer:
    assert isinstance(stage.site.server, RedisServer)
    return stage.site.server


def _rabbitmq(stage: Stage) -> RabbitMQServer:
    assert isinstance(stage.site.server, RabbitMQServer)
    return stage.site.server


def _for_a_while(
    strike: Callable[[Stage, Fleet], None], heal: Callable[[Stage, Fleet], None]
) -> Callable[[Stage, Fleet], Outcome]:
    def play(stage: Stage, fleet: Fleet) -> Outcome:
        stage.send("late", 120, 0.05)
        stage.send("early", 20, 0.05)
        stage.started(4)
        strike(stage, fleet)
        stage.struck()
        time.sleep(_AWAY)
        heal(stage, fleet)
        stage.fault_at = time.monotonic()
        stage.probe()
        outcome = stage.finish(fleet)
        outcome.wrong = "the worker ended" if fleet.restarts else ""
        return outcome

    return play


def _ordered(command: str) -> Callable[[Stage, Fleet], None]:
    return lambda stage, _: _redis(stage).order(command)


def _forgotten(stage: Stage, fleet: Fleet) -> Outcome:
    """Everything in Redis is gone, and the worker goes on with what comes: what it runs comes to
    its end all the same; what nobody had fetched yet is lost, by order."""
    stage.send("late", 60, 0.05)
    stage.started(4)
    before = {*stage.site.ledger.count("end")}
    _redis(stage).flush()
    stage.struck()
    # A result that was there; or may have been written a moment before.
    return _after_loss(stage, fleet, before | {*stage.site.ledger.count("end")})


def _queue_deleted(stage: Stage, fleet: Fleet) -> Outcome:
    """By an operator, with what was in it; who sends and who consumes is to make it again."""
    stage.send("late", 20, 0.05)
    stage.started(4)
    begin = time.monotonic()
    _rabbitmq(stage).control("delete_queue", "celery")
    stage.struck()
    stage.site.accounts.cut_off(begin, stage.fault_at)
    return _after_loss(stage, fleet, set())


def _after_loss(stage: Stage, fleet: Fleet, unknown: set[int]) -> Outcome:
    """What has started must end; of what has not, nobody but who gave the order knows."""
    sent = {*range(len(stage.results))}
    stage.probe()
    probes = stage.results[-len(stage.probes) :]
    fleet.until(lambda: all(each.ready() for each in probes), 60, "it goes on")
    until(lambda: _all_have_ended(stage, sent), 30, "what has started ends")
    started = {*stage.site.ledger.count("start")}
    stage.forgiven = (sent - started) | unknown
    outcome = stage.finish(fleet)
    outcome.note = f"{len(sent - started)} lost by order"
    outcome.wrong = "the worker ended" if fleet.restarts else ""
    return outcome


def _all_have_ended(stage: Stage, sent: set[int]) -> bool:
    starts, ends = stage.site.ledger.count("start"), stage.site.ledger.count("end")
    return not (sent & starts.keys()) - ends.keys()


def _out_of_memory(stage: Stage, fleet: Fleet) -> Outcome:
    """RabbitMQ takes nothing from who publishes: both kinds of task are still run and settled, what
    is tried again waits, and who sends is told."""
    server, app = _rabbitmq(stage), stage.site.app
    stage.send("late", 40, 0.05)
    stage.send("early", 40, 0.05)
    stage.send("tries", 10, 2)
    stage.started(4)
    server.control("set_vm_memory_high_watermark", "0.000001")
    stage.struck()
    heard: list[str] = []

    def send() -> None:
        began = time.monotonic()
        try:
            app.send_task("tasks.late", (-1, 0.0))
            heard.append("sent")
        except OperationalError as error:
            heard.append("refused" if "low on memory" in str(error) else repr(error))
        heard.append(f"within {time.monotonic() - began:.0f} s")

    sending = Thread(target=send)
    sending.start()
    sending.join(_BOUNDED)
    told = list(heard)
    server.control("set_vm_memory_high_watermark", "0.4")
    stage.fault_at = time.monotonic()
    sending.join(_BOUNDED)
    stage.probe()
    outcome = stage.finish(fleet)
    outcome.note = f"a send was {' '.join(heard)}"
    outcome.wrong = "" if told[:1] == ["refused"] else "who sends was not told"
    return outcome


def _locked(stage: Stage, fleet: Fleet) -> Outcome:
    """Somebody holds the file: a backup, a console."""
    stage.send("late", 120, 0.05)
    return _held(stage, fleet, _AWAY)


def _locked_for_long(stage: Stage, fleet: Fleet) -> Outcome:
    """Leases of tasks that run all the while cannot be extended."""
    stage.send("late", 4, stage.site.lease * 2)
    stage.started(4)
    stage.send("late", 40, 0.05)
    return _held(stage, fleet, stage.site.lease * 1.3)


def _held(stage: Stage, fleet: Fleet, seconds: float) -> Outcome:
    stage.started(4)
    with closing(sqlite3.connect(stage.site.folder / "queue.db", isolation_level=None)) as holder:
        holder.execute("PRAGMA busy_timeout = 20000")
        holder.execute("BEGIN IMMEDIATE")
        stage.struck()
        time.sleep(seconds)
        holder.execute("ROLLBACK")
    stage.healed()
    outcome = stage.finish(fleet)
    outcome.wrong = "the worker ended" if fleet.restarts else ""
    return outcome


def _disk_full(_: Stage, fleet: Fleet) -> None:
    _limit(fleet, resource.RLIMIT_FSIZE, 4096)


def _files_used_up(stage: Stage, fleet: Fleet) -> None:
    """And a child dies, so that there is need for more."""
    tree = fleet.trees[0]
    used = len(list(Path(f"/proc/{tree.process.pid}/fd").iterdir()))
    _limit(fleet, resource.RLIMIT_NOFILE, used)
    stage.kill_process(tree.children()[-1])


def _processes_used_up(stage: Stage, fleet: Fleet) -> None:
    """And all children that run tasks die: there is nobody left to run any."""
    Path(stage.site.env["FULL"]).touch()
    tree = fleet.trees[0]
    running = {run.pid for run in stage.site.ledger.runs() if run.group == tree.process.pid}
    for pid in running & {*tree.children()}:
        stage.kill_process(pid)


def _processes_again(stage: Stage, _: Fleet) -> None:
    Path(stage.site.env["FULL"]).unlink()


def _forkless(stage: Stage) -> Outcome:
    stage.site.env["FULL"] = str(stage.site.folder / "full")
    fleet = Fleet(stage.site, app="forkless")
    try:
        return _for_a_while(_processes_used_up, _processes_again)(stage, fleet)
    finally:
        fleet.kill()


def _limit(fleet: Fleet, what: int, most: int) -> None:
    pid = fleet.trees[0].process.pid
    _, hard = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (most, hard))


def _unlimited(_: Stage, fleet: Fleet) -> None:
    pid = fleet.trees[0].process.pid
    for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        _, hard = resource.prlimit(pid, what)
        resource.prlimit(pid, what, (hard, hard))


_HEADERS = b'{"id":"bad","task":"tasks.late","lang":"py"}'
_BAD: tuple[tuple[bytes, bytes, str, str], ...] = (
    (b"", _HEADERS, "application/json", "utf-8"),
    (b"\xff\xfe\x00garbage", _HEADERS, "application/json", "utf-8"),
    (b"null", _HEADERS, "application/json", "utf-8"),
    (b'"text"', _HEADERS, "application/json", "utf-8"),
    (b"[[1],{}", _HEADERS, "application/json", "utf-8"),
    (b'[{"a":1},[2],3]', _HEADERS, "application/json", "utf-8"),
    (b"[" * 100_000, _HEADERS, "application/json", "utf-8"),
    (b"[[],{},{}]", _HEADERS, "application/x-nobody-knows", "utf-8"),
    (b"[[],{},{}]", b"{}", "application/json", "utf-8"),
    (b"cos\nsystem\n(S'true'\ntR.", _HEADERS, "application/x-python-serialize", "binary"),
)
"""Body, headers, content type and encoding."""


def _malformed(stage: Stage, fleet: Fleet) -> Outcome:
    """Ten kinds of what nobody can read, between good tasks."""
    app = stage.site.app
    count = round(1000 * stage.scale) + 20
    for start in range(0, count, 20):
        stage.send("late", 2, 0.0)
        messages = [
            Message(
                id=f"bad-{number}",
                body=body,
                headers=headers.replace(b'"bad"', f'"bad-{number}"'.encode()),
                content_type=kind,
                content_encoding=encoding,
            )
            for number in range(start, start + 20)
            for body, headers, kind, encoding in [_BAD[number % len(_BAD)]]
        ]
        app.portal.call(app.producer.publish, messages, app.publish_policy({}))
    stage.struck()
    outcome = stage.finish(fleet)
    total = -(-count // 20) * 20
    fleet.until(lambda: app.dead_letters.count() >= total, 60, "all bad ones are dead letters")
    outcome.note = f"{app.dead_letters.count()} of {total} bad messages are dead letters"
    outcome.wrong = "the worker ended" if fleet.restarts else ""
    return outcome


REFUSALS = (
    Scenario("F14 queue deleted", with_fleet(_queue_deleted), ("rabbitmq",)),
    Scenario("F14 memory alarm", with_fleet(_out_of_memory), ("rabbitmq",)),
    Scenario(
        "F15 Redis out of memory 8 s",
        with_fleet(
            _for_a_while(_ordered("CONFIG SET maxmemory 1"), _ordered("CONFIG SET maxmemory 0"))
        ),
        ("redis",),
    ),
    Scenario(
        "F15 Redis read-only 8 s",
        with_fleet(_for_a_while(_ordered("REPLICAOF 127.0.0.1 1"), _ordered("REPLICAOF NO ONE"))),
        ("redis",),
    ),
    Scenario("F16 Redis flushed", with_fleet(_forgotten), ("redis",)),
    Scenario("F18 SQLite locked 8 s", with_fleet(_locked), ("sqlite",)),
    Scenario("F18 SQLite locked, long", with_fleet(_locked_for_long, size=3), ("sqlite",)),
    Scenario("F18 disk full 8 s", with_fleet(_for_a_while(_disk_full, _unlimited)), ("sqlite",)),
    Scenario("F33 malformed messages", with_fleet(_malformed)),
    Scenario("F49 no more files 8 s", with_fleet(_for_a_while(_files_used_up, _unlimited))),
    Scenario("F49 no more processes 8 s", _forkless),
)
