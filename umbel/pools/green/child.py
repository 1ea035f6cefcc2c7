"""The process that runs tasks in greenlets."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable

from umbel import signals
from umbel.clock import SystemClock
from umbel.exceptions import SoftTimeLimitExceeded, TaskCancelled
from umbel.model import Outcome, Request
from umbel.pools.green.coroutines import CoroutineSide
from umbel.pools.green.hubs import HubKind, make_hub
from umbel.pools.green.interrupts import GreenInterrupts
from umbel.pools.prefork.channel import (
    BORN,
    OUTCOMES,
    READY,
    RETURNED,
    TAKEN,
    FrameReader,
    decode_requests,
    encode,
    frame,
)
from umbel.pools.prefork.child import Seat, Traits, encode_outcomes, live
from umbel.pools.verdicts import broken
from umbel.protocols import Runner

__all__ = ["be_eventlet_child", "be_gevent_child"]

_monotonic = SystemClock().monotonic


class GreenChild:
    """Starts a greenlet for every request that comes; how many there are is for the parent to
    say. Ends when the parent closes the channel."""

    def __init__(self, kind: HubKind, runner: Runner, seat: Seat) -> None:
        self._kind = kind
        self._hub = make_hub(kind)
        self._runner = runner
        self._data = seat.data
        self._control = seat.control
        self._interrupts = GreenInterrupts(self._hub)
        # The thread's lock is a greenlet's: this process is patched.
        self._sending = threading.Lock()
        self._done: deque[Outcome] = deque()
        self._is_flushing = False
        # Another thread's word that something has ended there.
        self._bell, self._ring = socket.socketpair()
        self._coroutines = CoroutineSide(self._hub, runner, self._ended_elsewhere)

    def serve(self) -> None:
        """Run what comes, until nothing more comes."""
        self._data.sendall(frame(BORN, encode([os.getpid()])))
        if self._kind == "eventlet":
            signals.eventlet_pool_started.send(sender=self)
        self._runner.open(self._interrupts)
        self._hub.spawn(self._obey)
        self._hub.spawn(self._hear_coroutines)
        self._send(frame(READY))
        reader = FrameReader(self._data, self._take)
        while reader.read():
            pass
        if self._kind == "eventlet":
            signals.eventlet_pool_preshutdown.send(sender=self)
        self._coroutines.close()
        self._runner.close()
        if self._kind == "eventlet":
            signals.eventlet_pool_postshutdown.send(sender=self)

    def _take(self, kind: int, seconds: float, payload: memoryview) -> None:
        requests = decode_requests(payload)
        self._send(frame(TAKEN, encode([request.key for request in requests])))
        for request in requests:
            if self._runner.is_async(request):
                self._coroutines.start(request)
            else:
                if self._kind == "eventlet" and signals.eventlet_pool_apply.receivers:
                    signals.eventlet_pool_apply.send(
                        sender=self, target=self._runner.run, args=(request,), kwargs={}
                    )
                self._hub.spawn(self._run, request)

    def _run(self, request: Request) -> None:
        started = _monotonic()
        outcome: Outcome
        try:
            outcome = self._runner.run(request)
        except BaseException as error:  # noqa: BLE001 - a runner's bug costs a task, not the process
            outcome = broken(request, error, runtime=_monotonic() - started)
        self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        self._done.append(outcome)
        if not self._is_flushing:
            self._is_flushing = True
            # Whatever else ends before the hub comes to it goes along.
            self._hub.spawn(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        outcomes = list(self._done)
        self._done.clear()
        if outcomes:
            self._send(frame(OUTCOMES, encode_outcomes(outcomes)))

    def _send(self, data: bytes) -> None:
        with self._sending:
            self._data.sendall(data)

    def _ended_elsewhere(self, outcome: Outcome) -> None:
        self._done.append(outcome)
        self._ring.send(b".")

    def _hear_coroutines(self) -> None:
        while self._bell.recv(4096):
            self._flush()

    def _obey(self) -> None:
        """What the parent orders: a line with a letter and a request's key."""
        with self._control.makefile("rb") as orders:
            for order in orders:
                soft = SoftTimeLimitExceeded() if order[:1] == b"s" else None
                key = int(order[1:])
                if soft is None:
                    # Heard: nothing holds up everything else.
                    self._send(frame(RETURNED, encode([key])))
                if not self._coroutines.interrupt(key, soft):
                    self._interrupts.interrupt(key, soft or TaskCancelled())
        # The parent is gone. Not sys.exit: greenlets may run that never end.
        sys.stderr.flush()
        os._exit(1)


def be_gevent_child(make_runner: Callable[[], Runner], seat: Seat, traits: Traits) -> int:
    """Be a child with gevent's greenlets from here on; returns the exit code."""
    return live(lambda: GreenChild("gevent", make_runner(), seat).serve(), seat, traits)


def be_eventlet_child(make_runner: Callable[[], Runner], seat: Seat, traits: Traits) -> int:
    """Be a child with eventlet's greenlets from here on; returns the exit code."""
    return live(lambda: GreenChild("eventlet", make_runner(), seat).serve(), seat, traits)
