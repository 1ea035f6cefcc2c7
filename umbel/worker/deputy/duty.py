"""What a deputy does: a program that a worker starts, by its path.

There may be one for every worker, and it is idle nearly all the time: so its interpreter has no
``site``, and at module level it imports little. What it takes to talk to a broker is imported
when there is reason to talk.
"""

from __future__ import annotations

import binascii
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = ["SILENT_AFTER", "Leases", "Line", "Orders", "is_stopped"]

SILENT_AFTER = 1 / 4
"""Leases without a word from the worker until its deputy stands in. When it says a word, what it
holds has been renewed at most a third of a lease ago: plenty is left."""
_RENEW_EVERY = 1 / 3
"""Leases between two renewals."""
_LOOK_EVERY = 1 / 12
"""Leases until it is seen whether a stopped worker goes on, or a broker that was away is back."""
_SHORTEST = 0.02
"""Seconds between two looks, however short a lease is."""


class Leases(NamedTuple):
    """To renew what a worker holds. Reading it imports what it is made of."""

    make_broker: Callable[[], Any]
    """Makes a broker client that knows holders."""
    holder: str
    queues: Sequence[str]


class Line(NamedTuple):
    """To say on a worker's connection that it lives."""

    number: int
    """Of the connection; not known here."""
    fd: int
    beat: bytes


Orders = Leases | Line
"""What a deputy must know to stand in."""


def is_stopped(pid: int) -> bool:
    """Whether a process has been stopped (``SIGSTOP``, a debugger) or has ended; also when that
    cannot be found out. One that computes or waits, for whatever, is neither.

    Source:
        The manual pages proc_pid_stat(5), field 3, and ps(1), ``state``.
    """
    if os.name == "nt":
        # Nothing stops a process there but a debugger.
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib is large
            # The name before it may have spaces and parentheses.
            state = file.read().rpartition(b")")[2].strip()
    except OSError:
        state = _asked_of_ps(pid)
    return not state or state[:1] in b"TtXZ"


def _asked_of_ps(pid: int) -> bytes:
    # Where there is no /proc: macOS, BSD.
    import subprocess

    try:
        asked = ["ps", "-o", "state=", "-p", str(pid)]
        answer = subprocess.run(asked, capture_output=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return b""
    return answer.stdout.strip()


class Duty:
    """Listens to a worker; when it is silent, renews its leases until it is heard of again."""

    def __init__(self, worker: int, lease: float, limit: float) -> None:
        """Take up the post.

        Args:
            worker: Its process.
            lease: Seconds.
            limit: Seconds of silence after which nothing is renewed any more.
        """
        self._worker = worker
        self._lease = lease
        self._limit = limit
        self._heard = threading.Event()
        self._sealed = b""

    def listen(self) -> None:
        """Hear what the worker says; end with it."""
        for line in sys.stdin.buffer:
            if line != b"\n":
                self._sealed = binascii.a2b_base64(line)
            self._heard.set()
        # There is nothing to tidy up: what a broker is being told is told or not.
        os._exit(0)

    def serve(self) -> None:
        """Stand in whenever need be, until the worker ends."""
        while True:
            if self._heard.wait(self._lease * SILENT_AFTER):
                self._heard.clear()
            elif self._sealed:
                self._stand_in(time.monotonic() - self._lease * SILENT_AFTER)

    def _stand_in(self, since: float) -> None:
        pause = 0.0
        complained = False
        while not self._heard.wait(pause):
            if os.name != "nt" and os.getppid() != self._worker:
                # It is dead, although somebody else still has its end of the pipe.
                os._exit(0)
            pause = max(self._lease * _LOOK_EVERY, _SHORTEST)
            if time.monotonic() - since > self._limit:
                if not complained:
                    complained = True
                    _say(
                        f"the worker {self._worker} has not moved for {self._limit:g} seconds "
                        "(worker_blocked_timeout): its messages are left to other workers."
                    )
            elif not is_stopped(self._worker) and self._renew():
                pause = max(self._lease * _RENEW_EVERY, _SHORTEST)

    def _renew(self) -> bool:
        try:
            orders = _unsealed(self._sealed)
            if isinstance(orders, Line):
                _beat(orders)
            else:
                _renew(orders, self._lease)
        except Exception as error:  # noqa: BLE001 - the outermost handler: it is tried again
            _say(
                f"could not hold on to the messages of the worker {self._worker}, which does not "
                f"move: {error!r}"
            )
            return False
        return True


def _unsealed(sealed: bytes) -> Orders:
    # Memory of a process that may never need it.
    import pickle

    path, kind, orders = pickle.loads(sealed)  # noqa: S301 - from who started this process
    sys.path[:] = path
    values: tuple[Any, ...] = pickle.loads(orders)  # noqa: S301 - as above
    return Line(*values) if kind == "line" else Leases(*values)


def _beat(line: Line) -> None:
    try:
        os.write(line.fd, line.beat)
    except BlockingIOError:
        # The other end does not read; what it has not read will do as a sign of life.
        return


def _renew(orders: Leases, lease: float) -> None:
    # As above; and there is more in what it reads from here on.
    import asyncio

    async def renew() -> None:
        async with asyncio.timeout(lease):
            broker = orders.make_broker()
            try:
                await broker.open()
                await broker.extend_all(orders.holder, orders.queues, lease=lease)
            finally:
                await broker.close()

    asyncio.run(renew())


def _say(what: str) -> None:
    try:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        sys.stderr.write(f"[{now}: WARNING/Deputy] {what}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        # Nobody reads it.
        pass


def main() -> None:
    """Be the deputy of the process that has started this one."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
        # Said to a whole process group, or terminal; the worker says when it ends.
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    duty = Duty(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
    threading.Thread(target=duty.listen, daemon=True).start()
    duty.serve()


if __name__ == "__main__":
    main()
