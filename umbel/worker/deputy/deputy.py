"""A worker's deputy, as the worker sees it."""

from __future__ import annotations

import asyncio
import binascii
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from umbel.clock import SystemClock
from umbel.exceptions import BrokerUnavailable
from umbel.protocols import Broker, HangsByALine, KnowsHolders
from umbel.worker.deputy.duty import SILENT_AFTER, Leases, Line, Orders
from umbel.worker.pools.choice import can_block

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.worker.fetching.source import Source
    from umbel.worker.options import WorkerOptions

__all__ = ["Deputy", "deputy_of"]

logger = logging.getLogger(__name__)

_CLOCK = SystemClock()
"""What stands still here does so in real time, whatever the app's clock says."""
_PROGRAM = Path(__file__).with_name("duty.py")


def deputy_of(app: Umbel, options: WorkerOptions, source: Source) -> Deputy | None:
    """A worker's deputy; None where no task can block the worker, nobody could help it, or nobody
    wants that."""
    broker, limit = source.broker, options.blocked_timeout
    if not (can_block(options) and limit):
        return None
    if isinstance(broker, KnowsHolders):
        holding = _Holding(app.broker_elsewhere(), broker.holder, source)
        return Deputy(holding.orders, lease=app.conf.worker_lease, limit=limit)
    if isinstance(broker, HangsByALine) and broker.silence and os.name != "nt":
        orders = partial(_line_of, broker)
        return Deputy(orders, lease=broker.silence, limit=limit, secure=broker.secure)
    return None


def _line_of(broker: HangsByALine) -> Line | None:
    line = broker.lifeline
    return None if line is None else Line(line.number, line.fd, line.beat)


class _Holding:
    """Whose leases a deputy renews, and in which queues: all that it has ever consumed from, since
    what was received stays its own when its queue is consumed from no more."""

    def __init__(self, make_broker: Callable[[], Broker], holder: str, source: Source) -> None:
        self._make_broker = make_broker
        self._holder = holder
        self._source = source
        self._queues: tuple[str, ...] = ()

    def orders(self) -> Leases:
        self._queues = tuple(dict.fromkeys((*self._queues, *self._source.queues)))
        return Leases(self._make_broker, self._holder, self._queues)


class Deputy:
    """A process that holds on to the messages of a worker whose own loop does not get to it,
    because a task holds the interpreter's lock or blocks the loop.

    It hears a word now and then for as long as the loop goes round. When it hears nothing, and
    the worker's process lives and has not been stopped, it renews the worker's leases, or says on
    its connection that it lives; up to a limit: a task that never ends must not keep its messages
    for ever. A worker that was stopped loses them like one that has died.
    """

    def __init__(
        self,
        orders: Callable[[], Orders | None],
        *,
        lease: float,
        limit: float,
        secure: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Make one.

        Args:
            orders: What it has to do, as things are now; None: nothing.
            lease: Seconds after which others have what nobody holds on to.
            limit: Seconds that a worker which does not move keeps its messages.
            secure: Called once, before it is asked for orders.
        """
        self._secure = secure
        self._orders = orders
        self._lease = lease
        self._limit = limit
        self._process: subprocess.Popen[bytes] | None = None
        self._told: Orders | None = None

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
        if self._secure is not None:
            # A broker that is away is for others to wait for; when it is back, there is a line.
            with suppress(BrokerUnavailable):
                await self._secure()
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

    def report(self) -> None:
        """Tell the deputy at once what has changed."""
        if self._process is not None:
            self._keep()

    def _keep(self) -> bool:
        """Tell the deputy that the loop goes round, and what is to be done if that is new; have
        another if need be. Whether there can be one."""
        orders, told = self._orders(), self._told
        if orders is None:
            self._dismiss()
            return True
        if self._process is not None and (orders == told or isinstance(orders, Leases)):
            if self._tell(b"\n" if orders == told else _sealed(orders)):
                self._told = orders
                return True
            logger.warning("The deputy (pid %d) has ended; there will be another.", self.pid)
        self._dismiss()
        try:
            sealed = _sealed(orders)
            self._process = self._start(orders)
        except (OSError, pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
            logger.warning(
                "This worker has no deputy, so that a task which holds the interpreter for longer "
                "than %g seconds loses its message to another worker: %s",
                self._lease,
                error,
            )
            return False
        self._told = orders
        self._tell(sealed)
        return True

    def _start(self, orders: Orders) -> subprocess.Popen[bytes]:
        numbers = map(str, (os.getpid(), self._lease, self._limit))
        # Without site, and with nothing of the environment's: it is told where modules are.
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-I", "-S", str(_PROGRAM), *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            # A connection can be told of to a process that is about to start, not later.
            pass_fds=(orders.fd,) if isinstance(orders, Line) else (),
        )
        assert process.stdin is not None
        if os.name != "nt":
            # A deputy that does not listen must not keep the worker waiting.
            os.set_blocking(process.stdin.fileno(), False)
        return process

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
        self._told = None
        if process is None:
            return
        # It has nothing to do, or somebody else will do it better.
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def _sealed(orders: Orders) -> bytes:
    """A line that says it."""
    kind = "line" if isinstance(orders, Line) else "leases"
    sealed = pickle.dumps((sys.path, kind, pickle.dumps(tuple(orders))))
    return binascii.b2a_base64(sealed)
