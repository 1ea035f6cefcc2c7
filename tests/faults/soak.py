"""Faults in pairs, drawn by lot, for minutes or for hours."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from threading import Event, Thread

from umbel.exceptions import OperationalError
from umbel.testing.proxy import Proxy
from umbel.testing.servers import RabbitMQServer

from .outages import MORE_FILES, MORE_MEMORY, weight
from .scenarios import Scenario
from .site import Fleet
from .stage import Outcome, Stage
from .wires import wire

__all__ = ["SOAK"]

SECONDS = float(os.environ.get("UMBEL_SOAK", "120"))
SEED = int(os.environ.get("UMBEL_SEED", "20261121"))
_PAUSE = 5.0
"""Seconds from one pair of faults to the next."""
_LASTS = 4.0
_PER_SECOND = 30

Fault = Callable[["Soak"], None]


class Soak:
    """Two workers: one is killed now and then; the other one, at most frozen, must not grow."""

    def __init__(self, stage: Stage, fleet: Fleet, proxy: Proxy | None) -> None:
        self.stage, self.fleet, self.proxy = stage, fleet, proxy
        self.faults: list[str] = []
        self._ended = Event()
        self._producer = Thread(target=self._produce)

    def play(self, seconds: float) -> None:
        """Pairs of faults under load, for so long."""
        rng = random.Random(SEED)
        faults: Sequence[Fault] = (killed, child_killed, ended, frozen, *self._of_servers())
        self._producer.start()
        try:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                pair = rng.sample(faults, 2)
                self.faults.append("+".join(fault.__name__ for fault in pair))
                strikes = [Thread(target=fault, args=(self,)) for fault in pair]
                for strike in strikes:
                    strike.start()
                for strike in strikes:
                    strike.join()
                self.fleet.tend()
                time.sleep(_PAUSE)
        finally:
            self._ended.set()
            self._producer.join()

    def _of_servers(self) -> Sequence[Fault]:
        if self.proxy is None:
            return ()
        return (cut, stalled, darkened, server_killed)

    def _produce(self) -> None:
        stage = self.stage
        while not self._ended.wait(1 / _PER_SECOND):
            number = len(stage.results)
            began = time.monotonic()
            while True:
                try:
                    result = stage.site.app.send_task(
                        "tasks.late", (number, 0.01), task_id=f"soak-{number}"
                    )
                except OperationalError:
                    # It may have been taken; the same again until somebody says so.
                    stage.site.accounts.sent_again[number] += 1
                else:
                    break
            if time.monotonic() - began > 0.5:
                # It was tried again inside.
                stage.site.accounts.sent_again[number] += 1
            stage.results.append(result)


def killed(soak: Soak) -> None:
    soak.stage.kill(soak.fleet.trees[0])


def child_killed(soak: Soak) -> None:
    for pid in soak.fleet.trees[0].children()[-1:]:
        soak.stage.kill_process(pid)


def ended(soak: Soak) -> None:
    tree = soak.fleet.trees[0]
    if tree.process.poll() is None:
        tree.process.send_signal(signal.SIGTERM)


def frozen(soak: Soak) -> None:
    tree = soak.fleet.trees[1]
    soak.stage.freeze(tree)
    time.sleep(_LASTS)
    soak.stage.thaw(tree)


def cut(soak: Soak) -> None:
    _wire(soak, Proxy.cut, 0.0)


def stalled(soak: Soak) -> None:
    _wire(soak, Proxy.stall, _LASTS)


def darkened(soak: Soak) -> None:
    _wire(soak, Proxy.blackhole, _LASTS)


def _wire(soak: Soak, strike: Callable[[Proxy], None], seconds: float) -> None:
    assert soak.proxy is not None
    with soak.stage.outage():
        strike(soak.proxy)
        time.sleep(seconds)
        soak.proxy.heal()


def server_killed(soak: Soak) -> None:
    server = soak.stage.site.server
    assert server is not None
    with soak.stage.outage():
        server.kill()
        time.sleep(1)
        server.start()


def _soaked(stage: Stage) -> Outcome:
    seconds = SECONDS * stage.scale
    if isinstance(stage.site.server, RabbitMQServer):
        stage.site.use_quorum_queues()
    with ExitStack() as stack:
        proxy = stack.enter_context(wire(stage)) if stage.site.server is not None else None
        fleet = Fleet(stage.site, 2)
        stack.callback(fleet.kill)
        soak = Soak(stage, fleet, proxy)
        steady = fleet.trees[1].process
        # Whatever it needs, it has by then.
        soak.play(seconds / 4)
        files, memory = weight(steady.pid)
        before = len(soak.faults)
        soak = Soak(stage, fleet, proxy)
        soak.play(seconds * 3 / 4)
        fleet.tend()
        stage.struck()
        stage.started_before = None
        stage.probe()
        outcome = stage.finish(fleet, timeout=120)
        files_now, memory_now = weight(steady.pid) if steady.poll() is None else (0.0, 0.0)
    more_files, more_memory = files_now - files, memory_now - memory
    outcome.note = (
        f"{before + len(soak.faults)} pairs of faults, seed {SEED}; "
        f"{more_files:+.0f} files, {more_memory:+.1f} MB"
    )
    if fleet.trees[1].process is not steady:
        outcome.wrong = "the worker that nobody killed has ended"
    elif more_files > MORE_FILES or more_memory > MORE_MEMORY:
        outcome.wrong = "grown"
    return outcome


SOAK = (Scenario("F59 soak", _soaked, is_long=True),)
