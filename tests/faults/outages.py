"""Faults of servers that come and go, of time, and of who holds the interpreter."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

from umbel import Umbel
from umbel.drivers.rabbitmq.topology import YOUNG
from umbel.exceptions import BackendError, OperationalError, UmbelError
from umbel.testing.servers import RabbitMQServer, RedisServer, redis_server

from .ledger import until
from .scenarios import Play, Scenario, with_fleet
from .site import Fleet
from .stage import Outcome, Stage

__all__ = ["MORE_FILES", "MORE_MEMORY", "OUTAGES", "weight", "with_backend"]

_SERVERS = ("redis", "rabbitmq")
_RESTARTS = 5
MORE_FILES, MORE_MEMORY = 8, 20.0
"""Files and MB that a worker may have more after restarts than before."""
_BOUNDED = 60.0
"""Seconds within which a client must hear that there is no server."""


def _server(stage: Stage) -> RedisServer | RabbitMQServer:
    server = stage.site.server
    assert server is not None
    return server


def _broker_killed(stage: Stage, fleet: Fleet) -> Outcome:
    """While tasks run and somebody sends more, one by one, with the same id until it is taken."""
    server, app = _server(stage), stage.site.app
    stage.send("late", 100, 0.03)
    stage.started(20)
    ended, slowest = Event(), 0.0

    def produce() -> None:
        nonlocal slowest
        while not ended.is_set():
            number, began = len(stage.results), time.monotonic()
            try:
                result = app.send_task("tasks.late", (number, 0.0), task_id=f"sent-{number}")
            except OperationalError:
                # It may have been taken all the same.
                stage.site.accounts.sent_again[number] += 1
            else:
                stage.results.append(result)
            slowest = max(slowest, time.monotonic() - began)
            ended.wait(0.02)

    producer = Thread(target=produce)
    producer.start()
    try:
        time.sleep(0.5)
        with stage.outage():
            server.kill()
            time.sleep(1)
            server.start()
        stage.started(20)
    finally:
        ended.set()
        producer.join()
    outcome = stage.finish(fleet)
    outcome.note = f"the slowest send took {slowest:.1f} s"
    if slowest > _BOUNDED:
        outcome.wrong = "a send took too long"
    return outcome


def _durable(play: Callable[[Stage, Fleet], Outcome]) -> Play:
    """Where a server has on disk what it has been told, acknowledgements included."""

    def run(stage: Stage) -> Outcome:
        if isinstance(stage.site.server, RabbitMQServer):
            stage.site.use_quorum_queues()
        return with_fleet(play)(stage)

    return run


def _broker_killed_classic(stage: Stage, fleet: Fleet) -> Outcome:
    """RabbitMQ writes a message to a classic queue before it confirms it; that one was
    acknowledged, it writes down when the queue has nothing else to do."""
    stage.send("late", 100, 0.03)
    stage.started(60)
    server = _server(stage)
    with stage.outage(forgets=math.inf):
        server.kill()
        time.sleep(1)
        server.start()
    return stage.finish(fleet)


_EVERY_SECOND = 2.0
"""Seconds that may be missing from the file of a Redis that died: it is written once a second, and
a second later when the disk is busy."""


def _killed_everysec(stage: Stage, fleet: Fleet) -> Outcome:
    """What Redis has said it has, and not written yet, nobody can bring back."""
    server = _server(stage)
    assert isinstance(server, RedisServer)
    server.configure("appendfsync", "everysec")
    stage.send("late", 100, 0.01)
    until(lambda: all(each.ready() for each in stage.results), 60, "the first ones end")
    # Bounded: older than this, everything is there.
    time.sleep(_EVERY_SECOND)
    old = len(stage.results)
    stage.send("late", 100, 0.01)
    stage.started(10)
    with stage.outage(forgets=_EVERY_SECOND):
        server.kill()
        server.start()
    stage.send("late", 5, 0.0)
    probes = stage.results[-5:]
    fleet.until(lambda: all(each.ready() for each in probes), 60, "it goes on")
    last = dict(enumerate(stage.results[old:-5], old))
    deadline = time.monotonic() + 1.5 * stage.site.lease
    while time.monotonic() < deadline and not all(each.ready() for each in last.values()):
        time.sleep(0.1)
    stage.forgiven = {number for number, each in last.items() if not each.ready()}
    outcome = stage.finish(fleet)
    outcome.note = f"{len(stage.forgiven)} more of the last {_EVERY_SECOND:g} s are forgotten"
    return outcome


def _restarted(stage: Stage, fleet: Fleet) -> Outcome:
    server = _server(stage)
    stage.send("late", 20, 0.01)
    stage.started(20)
    if isinstance(server, RabbitMQServer):
        # Killed earlier, it forgets one half of the queue, which then confirms and answers nothing.
        time.sleep(YOUNG)
    worker = fleet.trees[0].process
    files, memory = weight(worker.pid)
    for _ in range(_RESTARTS):
        stage.send("late", 20, 0.03)
        stage.started(2)
        with stage.outage():
            server.kill()
            time.sleep(1)
            server.start()
        # What was sent before may all have run before the server was killed.
        before = stage.site.starts()
        stage.send("late", 2, 0.0)
        until(lambda: stage.site.starts() > before, 40, "tasks start")  # noqa: B023
    outcome = stage.finish(fleet)
    files_now, memory_now = weight(worker.pid)
    more_files, more_memory = files_now - files, memory_now - memory
    outcome.note = f"{more_files:+.0f} files, {more_memory:+.1f} MB"
    if fleet.restarts or more_files > MORE_FILES or more_memory > MORE_MEMORY:
        outcome.wrong = "grown, or restarted"
    return outcome


def weight(pid: int) -> tuple[float, float]:
    """Open files, and resident MB."""
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return files, pages * 4096 / 1e6


def _away_at_first(stage: Stage) -> Outcome:
    server = _server(stage)
    server.kill()
    fleet = Fleet(stage.site)
    wrong = ""
    began = time.monotonic()
    try:
        try:
            stage.site.app.send_task("tasks.late", (0, 0.0))
            wrong = "a send without a server did not fail"
        except OperationalError:
            pass
        heard = time.monotonic() - began
        time.sleep(max(0.0, 5.0 - heard))
        fleet.tend()
        server.start()
        stage.struck()
        stage.send("late", 20, 0.01)
        outcome = stage.finish(fleet)
    finally:
        fleet.kill()
    outcome.note = f"a send failed after {heard:.1f} s"
    outcome.wrong = wrong or ("took too long" if heard > _BOUNDED else "")
    outcome.wrong = outcome.wrong or ("the worker ended" if fleet.restarts else "")
    return outcome


def _beyond_its_lease(stage: Stage, fleet: Fleet) -> Outcome:
    delay = stage.site.lease * 1.5
    stage.send("late", 20, 0.0, countdown=delay)
    stage.struck()
    stage.fault_at += delay
    return stage.finish(fleet, timeout=90 + delay)


def _hogged(stage: Stage, fleet: Fleet) -> Outcome:
    stage.send("hogs", 2, round(stage.site.lease * 2))
    stage.struck()
    outcome = stage.finish(fleet, timeout=90 + 4 * stage.site.lease)
    outcome.recovery = 0.0
    if outcome.repeats.total or outcome.reported:
        outcome.wrong = "its lease was not renewed"
    return outcome


def with_backend(play: Callable[[Stage, Fleet, RedisServer], Outcome], *, size: int = 1) -> Play:
    """Results in a Redis of their own, whatever the broker is."""

    def run(stage: Stage) -> Outcome:
        site = stage.site
        with redis_server("--appendonly", "yes", "--appendfsync", "always") as backend:
            direct, site.backend = site.app, backend.url()
            site.env["UMBEL_RESULT_BACKEND"] = site.backend
            site.app = Umbel(
                "faults", broker=site.broker, backend=site.backend, set_as_current=False
            )
            fleet = Fleet(site, size)
            try:
                return play(stage, fleet, backend)
            finally:
                fleet.kill()
                site.app.close()
                site.app = direct

    return run


def _backend_away(stage: Stage, fleet: Fleet, backend: RedisServer) -> Outcome:
    stage.send("late", 40, 0.05)
    stage.send("early", 40, 0.05)
    stage.started(4)
    backend.kill()
    stage.struck()
    time.sleep(10)
    backend.start()
    stage.fault_at = time.monotonic()
    stage.probe()
    return stage.finish(fleet)


def _waited_for(stage: Stage, fleet: Fleet, backend: RedisServer) -> Outcome:
    """Somebody waits for results while the server that they are in restarts."""
    stage.send("late", 1, 0.0)
    stage.started()
    stage.send("late", 4, 4.0)
    heard: list[str] = []

    def wait(place: int) -> None:
        try:
            heard.append(repr(stage.results[place].get(timeout=30)))
        except (BackendError, UmbelError) as error:
            heard.append(type(error).__name__)

    waiting = [Thread(target=wait, args=(place,), daemon=True) for place in range(1, 5)]
    for each in waiting:
        each.start()
    time.sleep(1.5)
    backend.kill()
    stage.struck()
    time.sleep(2)
    backend.start()
    stage.fault_at = time.monotonic()
    for each in waiting:
        each.join(35)
    outcome = stage.finish(fleet)
    outcome.note = f"heard {', '.join(sorted(heard))}"
    outcome.wrong = "" if len(heard) == len(waiting) else "somebody waits for ever"
    return outcome


def _twice_by_hand(stage: Stage, fleet: Fleet) -> Outcome:
    """The same message twice, as after a publish whose answer was lost: both may run."""
    app = stage.site.app
    for number in range(20):
        for _ in range(2):
            result = app.send_task("tasks.late", (number, 0.0), task_id=f"twice-{number}")
        stage.results.append(result)
        stage.site.accounts.sent_again[number] += 1
    stage.struck()
    return stage.finish(fleet)


OUTAGES = (
    Scenario("F11 broker killed", _durable(_broker_killed), _SERVERS),
    Scenario("F11 classic queue, killed", with_fleet(_broker_killed_classic), ("rabbitmq",)),
    Scenario("F11 everysec, killed", with_fleet(_killed_everysec), ("redis",)),
    Scenario("F12 broker restarted 5 times", _durable(_restarted), _SERVERS),
    Scenario("F13 broker away at first", _away_at_first, _SERVERS),
    Scenario("F26 ETA beyond its lease", with_fleet(_beyond_its_lease)),
    Scenario("F30 holds the GIL, prefork", with_fleet(_hogged, size=2)),
    Scenario("F30 holds the GIL, threads", with_fleet(_hogged, "-P", "threads", size=2)),
    Scenario("F42 backend away 10 s", with_backend(_backend_away)),
    Scenario("F44 get() as backend restarts", with_backend(_waited_for)),
    Scenario("F57 sent twice with one id", with_fleet(_twice_by_hand)),
)
