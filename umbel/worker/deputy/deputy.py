"""A worker's deputy, as the worker sees it."""

from __future__ import annotations

import asyncio
import binascii
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from umbel.clock import SystemClock
from umbel.protocols import Broker, KnowsHolders
from umbel.worker.deputy.duty import SILENT_AFTER, Orders
from umbel.worker.pools import can_block

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.worker.options import WorkerOptions
    from umbel.worker.source import Source

__all__ = ["Deputy", "deputy_of"]

logger = logging.getLogger(__name__)

_CLOCK = SystemClock()
"""What stands still here does so in real time, whatever the app's clock says."""
_PROGRAM = Path(__file__).with_name("duty.py")


def deputy_of(app: Umbel, options: WorkerOptions, source: Source) -> Deputy | None:
    """A worker's deputy; None where no task can block the worker, no other process could renew its
    leases (they last as long as the connection), or nobody wants one."""
    broker = source.broker
    if not (can_block(options) and options.blocked_timeout and isinstance(broker, KnowsHolders)):
        return None
    return Deputy(
        app.broker_elsewhere(),
        broker.holder,
        lambda: source.queues,
        lease=app.conf.worker_lease,
        limit=options.blocked_timeout,
    )


class Deputy:
    """A process that renews the leases of a worker whose own loop does not get to it, because a
    task holds the interpreter's lock or blocks the loop.

    It hears a word now and then for as long as the loop goes round. When it hears nothing, and
    the worker's process lives and has not been stopped, it renews what the worker holds, up to a
    limit: a task that never ends must not keep its messages for ever. A worker that was stopped
    loses its leases like one that has died.
    """

    def __init__(
        self,
        make_broker: Callable[[], Broker],
        holder: str,
        queues: Callable[[], Sequence[str]],
        *,
        lease: float,
        limit: float,
    ) -> None:
        """Make one.

        Args:
            make_broker: Makes a client of the same broker in another process; is sent there.
            holder: Whose leases they are, to the broker.
            queues: What the worker consumes from now.
            lease: Seconds.
            limit: Seconds that a worker which does not move keeps its messages.
        """
        self._make_broker = make_broker
        self._holder = holder
        self._queues = queues
        self._lease = lease
        self._limit = limit
        self._process: subprocess.Popen[bytes] | None = None
        self._known_queues: set[str] = set()

    @property
    def pid(self) -> int | None:
        """Its process, if there is one."""
        return None if self._process is None else self._process.pid

    async def run(self, ending: asyncio.Event) -> None:
        """Have a deputy until the event is set; another one when it dies."""
        if not _PROGRAM.is_file():
            logger.debug("No deputy: %s is not a file, and cannot be started.", _PROGRAM)
            return
        pause = self._lease * SILENT_AFTER / 2
        try:
            while not ending.is_set():
                if not self._keep():
                    return
                said_at = _CLOCK.monotonic()
                with suppress(TimeoutError):
                    await asyncio.wait_for(ending.wait(), pause)
                silent = _CLOCK.monotonic() - said_at
                if silent > self._lease * SILENT_AFTER + pause:
                    logger.info(
                        "This worker did not move for %.1f seconds: a task held the interpreter "
                        "or blocked the loop, or the process was stopped.",
                        silent,
                    )
        finally:
            self._dismiss()

    def report(self) -> bool:
        """Tell the deputy that the loop goes round, and what is consumed from if that is new;
        whether there is one."""
        if self._process is None:
            return False
        new = set(self._queues()) - self._known_queues
        # What was received stays ours when its queue is consumed from no more.
        self._known_queues |= new
        return self._tell(self._orders() if new else b"\n")

    def _keep(self) -> bool:
        """Report, if need be to another deputy; whether there can be one."""
        if self.report():
            return True
        if self._process is not None:
            logger.warning("The deputy (pid %d) has ended; there will be another.", self.pid)
            self._dismiss()
        self._known_queues.update(self._queues())
        try:
            orders = self._orders()
            self._process = self._start()
        except (OSError, pickle.PicklingError, TypeError, AttributeError) as error:
            logger.warning(
                "This worker has no deputy, so that a task which holds the interpreter for longer "
                "than worker_lease (%g seconds) loses its message to another worker: %s",
                self._lease,
                error,
            )
            return False
        self._tell(orders)
        return True

    def _start(self) -> subprocess.Popen[bytes]:
        numbers = map(str, (os.getpid(), self._lease, self._limit))
        # Without site, and with nothing of the environment's: it is told where modules are.
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-I", "-S", str(_PROGRAM), *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
        )
        assert process.stdin is not None
        if os.name != "nt":
            # A deputy that does not listen must not keep the worker waiting.
            os.set_blocking(process.stdin.fileno(), False)
        return process

    def _orders(self) -> bytes:
        orders = Orders(self._make_broker, self._holder, sorted(self._known_queues))
        sealed = pickle.dumps((sys.path, pickle.dumps(tuple(orders))))
        return binascii.b2a_base64(sealed)

    def _tell(self, line: bytes) -> bool:
        """Say it; whether somebody is there."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            written = self._process.stdin.write(line)
        except OSError:
            return False
        # What does not fit has not been read for long: by somebody who is stopped. He knows that
        # there was something; orders must arrive whole.
        return line == b"\n" or written == len(line)

    def _dismiss(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # It has nothing to do, or somebody else will do it better.
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
