"""The process that runs tasks."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec

from umbel.clock import SystemClock
from umbel.model import Outcome, Request
from umbel.pools.prefork.channel import (
    OUTCOMES,
    READY,
    RETURNED,
    FrameReader,
    decode_requests,
    encode,
    frame,
)
from umbel.pools.prefork.process import name_process
from umbel.pools.prefork.slots import Slots
from umbel.pools.verdicts import broken, unencodable
from umbel.protocols import Runner

__all__ = ["Child", "be_child"]

logger = logging.getLogger(__name__)

_monotonic = SystemClock().monotonic

_PARENTS = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGCHLD)
"""Signals for which the parent may have handlers that mean nothing here."""
_LONG = 0.0002
"""Seconds; what takes longer is reported by itself, what takes less shares a frame."""
_LATE = 0.001
"""Seconds an outcome waits at most for others to share its frame."""


class Child:
    """Runs requests one after another in the main thread, until its parent closes the channel.

    The main thread receives, runs, sends. A second thread waits for the parent's word:
    to hand back what has not started, and what has finished, while a long task runs; and it
    ends the process when the parent is gone.
    """

    def __init__(
        self, runner: Runner, data: socket.socket, control: socket.socket, slots: Slots, slot: int
    ) -> None:
        self._runner = runner
        self._data = data
        self._control = control
        self._slots = slots
        self._slot = slot
        # Filled by whoever holds _receiving. The main thread takes from the left, the control
        # thread from the right: each request is taken once, and either started or returned.
        self._waiting: deque[Request] = deque()
        # Appended to by the main thread; taken from the left by whoever holds _sending.
        self._done: list[Outcome] = []
        self._busy = 0.0
        self._receiving = threading.Lock()
        self._sending = threading.Lock()
        self._reader = FrameReader(data, self._on_frame)

    def serve(self) -> None:
        """Run what comes, until nothing more comes."""
        self._runner.open()
        threading.Thread(target=self._obey, name="umbel-control", daemon=True).start()
        self._data.sendall(frame(READY))
        self._work()
        self._runner.close()

    def _work(self) -> None:
        waiting = self._waiting
        done = self._done
        run = self._runner.run
        slot = self._slot
        keys, times = self._slots.keys, self._slots.times
        outcome: Outcome
        flushed = now = 0.0
        while True:
            if not waiting:
                if done:
                    self._flush()
                with self._receiving:
                    if not waiting and not self._reader.read():
                        return
                flushed = now = _monotonic()
                continue
            try:
                request = waiting.popleft()
            except IndexError:
                # The control thread has returned it.
                continue
            started = times[slot] = now
            # From here on the request counts as started, whatever becomes of this process.
            keys[slot] = request.key
            try:
                outcome = run(request)
            except BaseException as error:  # noqa: BLE001 - a runner's bug costs a task, not the process
                outcome = broken(request, error, runtime=_monotonic() - started)
            now = _monotonic()
            self._busy += now - started
            done.append(outcome)
            if now - started >= _LONG or now - flushed >= _LATE:
                self._flush()
                flushed = now = _monotonic()

    def _on_frame(self, kind: int, seconds: float, payload: memoryview) -> None:
        self._waiting.extend(decode_requests(payload))

    def _flush(self) -> None:
        """Send what has finished."""
        with self._sending:
            # The main thread may append meanwhile; only what is counted here is taken.
            count = len(self._done)
            if not count:
                return
            outcomes = self._done[:count]
            del self._done[:count]
            busy, self._busy = self._busy, 0.0
            self._data.sendall(frame(OUTCOMES, _encode(outcomes), busy))

    def _obey(self) -> None:
        """The control thread."""
        try:
            while self._control.recv(64):
                self._hand_back()
        except OSError:
            # Nobody is left to send to.
            pass
        # Not sys.exit: the main thread may be in a task that never ends.
        os._exit(1)

    def _hand_back(self) -> None:
        # The main thread holds the lock when it waits for requests: then there are none.
        if self._receiving.acquire(blocking=False):
            try:
                while self._reader.read(socket.MSG_DONTWAIT):
                    pass
            except BlockingIOError:
                pass
            finally:
                self._receiving.release()
        returned: list[int] = []
        while self._waiting:
            try:
                returned.append(self._waiting.pop().key)
            except IndexError:
                break
        self._flush()
        with self._sending:
            self._data.sendall(frame(RETURNED, encode(returned)))


def _encode(outcomes: list[Outcome]) -> bytes:
    try:
        return encode(outcomes)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return encode([_encodable(outcome) for outcome in outcomes])


def _encodable(outcome: Outcome) -> Outcome:
    try:
        encode(outcome)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        return unencodable(outcome.key, error, runtime=outcome.runtime)
    return outcome


def be_child(
    make_runner: Callable[[], Runner],
    data: socket.socket,
    control: socket.socket,
    slots: Slots,
    slot: int,
    name: str,
) -> int:
    """Be a child from here on; returns the exit code."""
    # The terminal's Ctrl-C goes to everyone; what it means is for the parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in _PARENTS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, partial(_obey, slots, slot))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    name_process(name)
    try:
        Child(make_runner(), data, control, slots, slot).serve()
    except (BrokenPipeError, ConnectionResetError):
        # The parent is gone, and nobody is left to tell.
        return 1
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except Exception:
        logger.critical("Process %r pid:%d cannot run tasks", name, os.getpid(), exc_info=True)
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _obey(slots: Slots, slot: int, number: int, _: object) -> None:
    """End by SIGTERM if the parent sent it.

    Service managers send it to every process of a service; then the parent decides what is
    finished first. A handler and not SIG_IGN: what a task starts would inherit being deaf.
    """
    if slots.ordered[slot]:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
