"""Faults of the network between workers, or a client, and their server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from umbel import Umbel
from umbel.exceptions import OperationalError
from umbel.testing.proxy import Direction, Proxy

from .ledger import until
from .scenarios import Play, Scenario, kill_cycles
from .site import Fleet
from .stage import Outcome, Stage

__all__ = ["WIRES", "wire"]

_SERVERS = ("redis", "rabbitmq")
_AWAY = 8.0
"""Seconds."""
_ACKNOWLEDGED = 1.0
"""Seconds after a result by which, mostly, its task has been acknowledged."""


def _wired(stage: Stage, url: str, proxy: Proxy) -> str:
    assert stage.site.server is not None
    return url.replace(f":{stage.site.server.port}", f":{proxy.port}")


@contextmanager
def wire(stage: Stage) -> Iterator[Proxy]:
    """Between the workers and their server; who sends and counts is beside it."""
    site = stage.site
    assert site.server is not None
    with Proxy(site.server.port) as proxy:
        site.env["UMBEL_BROKER_URL"] = _wired(stage, site.broker, proxy)
        site.env["UMBEL_RESULT_BACKEND"] = _wired(stage, site.backend, proxy)
        yield proxy


def _on_the_wire(play: Callable[[Stage, Fleet, Proxy], Outcome]) -> Play:
    def run(stage: Stage) -> Outcome:
        with wire(stage) as proxy:
            fleet = Fleet(stage.site)
            try:
                return play(stage, fleet, proxy)
            finally:
                fleet.kill()

    return run


def _kills_with_latency(stage: Stage) -> Outcome:
    with wire(stage) as proxy:
        proxy.latency = 0.005
        return kill_cycles(stage)


def _for_a_while(strike: Callable[[Proxy], None]) -> Callable[[Stage, Fleet, Proxy], Outcome]:
    """Something is wrong for some seconds; what counts is how soon after them work goes on."""

    def play(stage: Stage, fleet: Fleet, proxy: Proxy) -> Outcome:
        # More than the pool has in hand.
        stage.send("late", 120, 0.05)
        stage.started(4)
        with stage.outage():
            strike(proxy)
            time.sleep(_AWAY)
            proxy.heal()
        return stage.finish(fleet)

    return play


def _reset_and_refused(proxy: Proxy) -> None:
    proxy.refuse()
    proxy.cut()


def _muted(direction: Direction) -> Callable[[Proxy], None]:
    return lambda proxy: proxy.mute(direction)


def _forgotten(stage: Stage, fleet: Fleet, proxy: Proxy) -> Outcome:
    """The connections are dead, and nobody says so; new ones would work."""
    stage.send("late", 60, 0.05)
    stage.started(4)
    proxy.forget()
    stage.struck()
    stage.probe()
    began = stage.fault_at
    outcome = stage.finish(fleet)
    # Until somebody noticed.
    stage.site.accounts.cut_off(began, began + outcome.recovery)
    outcome.repeats = stage.site.repeats()
    return outcome


def _slow(stage: Stage, fleet: Fleet, proxy: Proxy) -> Outcome:
    proxy.latency = 0.15
    stage.struck()
    stage.send("late", 60, 0.01)
    stage.send("early", 60, 0.01)
    return stage.finish(fleet)


def _cut_as_it_publishes(direction: Direction) -> Callable[[Stage, Fleet, Proxy], Outcome]:
    """After so many bytes of a message, or of the answer; with the same id again if it fails."""

    def play(stage: Stage, fleet: Fleet, proxy: Proxy) -> Outcome:
        site = stage.site
        raised = 0
        app = Umbel(
            "faults",
            broker=_wired(stage, site.broker, proxy),
            backend=site.backend,
            set_as_current=False,
        )

        def send(number: int) -> None:
            args, name = (number, 0.0), f"{direction}-{number}"
            try:
                app.send_task("tasks.late", args, task_id=name)
            except OperationalError:
                nonlocal raised
                raised += 1
                site.app.send_task("tasks.late", args, task_id=name)
            stage.results.append(site.app.AsyncResult(name))

        try:
            send(0)
            before = proxy.passed[direction]
            send(1)
            size = proxy.passed[direction] - before
            step = max(1, round(size / (20 * stage.scale + 4)))
            for count in range(1, size + 1, step):
                # The connection is there, whatever became of the one before.
                send(len(stage.results))
                proxy.cut_after(count, direction)
                # The server may have taken it, and its answer been lost.
                site.accounts.sent_again[len(stage.results)] += 1
                send(len(stage.results))
                proxy.heal()
                stage.struck()
            outcome = stage.finish(fleet)
        finally:
            app.close()
        outcome.note = f"{proxy.cuts} cuts in {size} bytes, {raised} raised"
        outcome.wrong = "" if proxy.cuts else "nothing was cut"
        return outcome

    return play


def _cut_as_it_acknowledges(direction: Direction) -> Callable[[Stage, Fleet, Proxy], Outcome]:
    def play(stage: Stage, fleet: Fleet, proxy: Proxy) -> Outcome:
        stage.send("late", 3, 0.0)
        until(lambda: all(each.ready() for each in stage.results), 60, "the worker works")
        before = proxy.passed[direction]
        stage.send("late", 1, 0.05)
        until(stage.results[-1].ready, 60, "the task ends")
        time.sleep(_ACKNOWLEDGED)
        # Nearly: heartbeats and renewed leases go the same way.
        size = max(2, proxy.passed[direction] - before)
        cuts = round(20 * stage.scale) + 4
        for place in range(cuts):
            began, made = time.monotonic(), proxy.cuts
            proxy.cut_after(1 + place * size // cuts, direction)
            stage.send("late", 1, 0.05)
            last = stage.results[-1]
            until(last.ready, 60, "the task ends")
            # The result is there before the acknowledgement is on its way.
            deadline = time.monotonic() + _ACKNOWLEDGED
            while proxy.cuts == made and time.monotonic() < deadline:
                time.sleep(0.02)
            stage.struck()
            stage.site.accounts.cut_off(began, stage.fault_at)
        proxy.heal()
        outcome = stage.finish(fleet)
        outcome.note = f"{proxy.cuts} cuts"
        outcome.wrong = "" if proxy.cuts else "nothing was cut"
        return outcome

    return play


WIRES = (
    Scenario("F10 killed, 5 ms latency", _kills_with_latency, _SERVERS, is_long=True),
    Scenario("F19 reset, refused 8 s", _on_the_wire(_for_a_while(_reset_and_refused)), _SERVERS),
    Scenario("F20 stalled 8 s", _on_the_wire(_for_a_while(Proxy.stall)), _SERVERS),
    Scenario("F21 half-open for good", _on_the_wire(_forgotten), _SERVERS),
    Scenario("F21 black hole 8 s", _on_the_wire(_for_a_while(Proxy.blackhole)), _SERVERS),
    Scenario("F22 150 ms latency", _on_the_wire(_slow), _SERVERS),
    Scenario("F23 answers dropped 8 s", _on_the_wire(_for_a_while(_muted("to_client"))), _SERVERS),
    Scenario(
        "F23 questions dropped 8 s", _on_the_wire(_for_a_while(_muted("to_server"))), _SERVERS
    ),
    Scenario("F24 cut in publish", _on_the_wire(_cut_as_it_publishes("to_server")), _SERVERS),
    Scenario("F24 cut in its answer", _on_the_wire(_cut_as_it_publishes("to_client")), _SERVERS),
    Scenario("F24 cut in ack", _on_the_wire(_cut_as_it_acknowledges("to_server")), _SERVERS),
    Scenario(
        "F24 cut in the answer to ack", _on_the_wire(_cut_as_it_acknowledges("to_client")), _SERVERS
    ),
)
