"""The process that runs tasks."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import msgspec

from umbel.clock import SystemClock
from umbel.model import Outcome, Request
from umbel.pools.prefork.channel import (
    BORN,
    OUTCOMES,
    READY,
    RETURNED,
    SPENT,
    FrameReader,
    decode_requests,
    encode,
    frame,
)
from umbel.pools.prefork.interrupts import SlotInterrupts
from umbel.pools.prefork.memory import resident
from umbel.pools.prefork.process import STACK_SIGNAL, name_process
from umbel.pools.prefork.slots import NONE, Slots
from umbel.pools.verdicts import broken, unencodable
from umbel.protocols import Runner
from umbel.utils.nodenames import PoolProcess

__all__ = ["Child", "Seat", "Traits", "be_child", "encode_outcomes", "live", "say"]

logger = logging.getLogger(__name__)

_monotonic = SystemClock().monotonic

_PARENTS = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGCHLD)
"""Signals for which the parent may have handlers that mean nothing here."""
_LONG = 0.0002
"""Seconds; what takes longer is reported by itself, what takes less shares a frame."""
_LATE = 0.001
"""Seconds an outcome waits at most for others to share its frame."""
_LINE = 4096
"""Bytes of what a child says when it ends."""
_PARDON = 0.001
"""Seconds between two looks whether the parent has thought better of killing this process."""


class Traits(NamedTuple):
    """What all children of a pool have in common."""

    name: str
    """The pool's, for process titles."""
    max_memory: int | None = None
    """KiB; a child that has more ends when its task is done."""


class Seat(NamedTuple):
    """Where one child works, and how it and its parent reach each other."""

    data: socket.socket
    """Requests come by it, outcomes go."""
    control: socket.socket
    """The parent orders by it, and hears why the child ends."""
    slots: Slots
    slot: int
    """The child's own."""
    name: str
    """What the process is called."""


class Child:
    """Runs requests one after another in the main thread, until its parent closes the channel.

    The main thread receives, runs, sends. A second thread waits for the parent's word:
    to hand back what has not started, and what has finished, while a long task runs; and it
    ends the process when the parent is gone.
    """

    def __init__(self, runner: Runner, seat: Seat, max_memory: int | None = None) -> None:
        self._runner = runner
        self._data = seat.data
        self._control = seat.control
        self._slots = seat.slots
        self._slot = seat.slot
        self._max_memory = max_memory
        self._is_spent = False
        # Filled by whoever holds _receiving. The main thread takes from the left, the control
        # thread from the right: each request is taken once, and either started or returned.
        self._waiting: deque[Request] = deque()
        # Appended to by the main thread; taken from the left by whoever holds _sending.
        self._done: list[Outcome] = []
        self._busy = 0.0
        self._receiving = threading.Lock()
        self._sending = threading.Lock()
        self._reader = FrameReader(seat.data, self._on_frame)

    def serve(self) -> None:
        """Run what comes, until nothing more comes."""
        interrupts = SlotInterrupts(self._slots, self._slot)
        interrupts.open()
        self._data.sendall(frame(BORN, encode([os.getpid()])))
        self._runner.open(interrupts)
        threading.Thread(target=self._obey, name="umbel-control", daemon=True).start()
        self._data.sendall(frame(READY))
        self.workloop()
        self._runner.close()

    def workloop(self) -> None:
        """Run requests until there are no more. Others put something around it, as around
        billiard's method of the same name."""
        waiting = self._waiting
        done = self._done
        run = self._runner.run
        slot = self._slot
        keys, times, doomed = self._slots.keys, self._slots.times, self._slots.doomed
        outcome: Outcome
        flushed = now = 0.0
        last = NONE - 1
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
            # Read after that write: either the parent sees the key, or this sees the doom.
            if doomed[slot] == last:
                self._await_pardon(last)
            last = request.key
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
                if self._max_memory is not None:
                    self._weigh(self._max_memory)

    def _on_frame(self, kind: int, seconds: float, payload: memoryview) -> None:
        requests = decode_requests(payload)
        if self._is_spent:
            with self._sending:
                self._return([request.key for request in reversed(requests)])
        else:
            self._waiting.extend(requests)

    def _await_pardon(self, key: int) -> None:
        """The task that this process is about to be killed for has ended: wait to be killed, or
        for the parent to see that it has."""
        self._flush()
        while self._slots.doomed[self._slot] == key:
            time.sleep(_PARDON)

    def _weigh(self, limit: int) -> None:
        """Start nothing more when there is too much memory."""
        size = 0 if self._is_spent else resident(limit)
        if size <= limit:
            return
        self._is_spent = True
        returned = self._withdraw()
        with self._sending:
            self._data.sendall(frame(SPENT, encode([size, limit])))
            if returned:
                self._return(returned)

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
            self._data.sendall(frame(OUTCOMES, encode_outcomes(outcomes), busy))

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
        returned = self._withdraw()
        self._flush()
        with self._sending:
            self._return(returned)

    def _withdraw(self) -> list[int]:
        """The keys of what has not started and now never does, the last one first."""
        returned: list[int] = []
        while self._waiting:
            try:
                returned.append(self._waiting.pop().key)
            except IndexError:
                break
        return returned

    def _return(self, keys: list[int]) -> None:
        self._data.sendall(frame(RETURNED, encode(keys)))


def encode_outcomes(outcomes: list[Outcome]) -> bytes:
    """As msgpack; what cannot be encoded becomes a failure."""
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


def be_child(make_runner: Callable[[], Runner], seat: Seat, traits: Traits) -> int:
    """Be a child from here on; returns the exit code."""
    PoolProcess.number = seat.slot + 1
    return live(lambda: Child(make_runner(), seat, traits.max_memory).serve(), seat, traits)


def live(serve: Callable[[], None], seat: Seat, traits: Traits) -> int:
    """Be what ``serve`` makes of this process; returns the exit code.

    What goes wrong is said to the parent.
    """
    # A crash of the interpreter is told by its stack; so is what a task does that does not end.
    faulthandler.enable(seat.control.fileno())
    faulthandler.register(STACK_SIGNAL, seat.control.fileno())
    # The terminal's Ctrl-C goes to everyone; what it means is for the parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in _PARENTS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, partial(_obey, seat.slots, seat.slot))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    name_process(traits.name, seat.name)
    try:
        serve()
    except (BrokenPipeError, ConnectionResetError):
        # The parent is gone, and nobody is left to tell.
        return 1
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        logger.critical("Process %r pid:%d cannot run tasks", seat.name, os.getpid(), exc_info=True)
        say(seat.control, repr(error))
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def say(control: socket.socket, text: str) -> None:
    """Let the parent know why this process ends."""
    # Nobody may be left to hear it, or there may be no room.
    with suppress(OSError):
        control.send(text.encode("utf-8", "replace")[:_LINE])


def _obey(slots: Slots, slot: int, number: int, _: object) -> None:
    """End by SIGTERM if the parent sent it.

    Service managers send it to every process of a service; then the parent decides what is
    finished first. A handler and not SIG_IGN: what a task starts would inherit being deaf.
    """
    if slots.ordered[slot]:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
