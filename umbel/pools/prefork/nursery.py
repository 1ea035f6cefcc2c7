"""The parent's way to get children, and to hear of their ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from umbel.pools.prefork.child import Traits
from umbel.pools.prefork.fresh import Birth, launch
from umbel.pools.prefork.process import libc
from umbel.pools.prefork.slots import Slots
from umbel.pools.prefork.zygote import (
    CHILD,
    CONTINUED,
    EXITED,
    ORDER,
    REFRESH,
    REPORT,
    STARTED,
    STOPPED,
    ZYGOTE,
    be_zygote,
)
from umbel.protocols import Runner

__all__ = [
    "Family",
    "Nursery",
    "SpawnNursery",
    "StartMethod",
    "ZygoteNursery",
    "make_nursery",
]

StartMethod = Literal["fork", "spawn", "forkserver"]

logger = logging.getLogger(__name__)


class Family(Protocol):
    """Who is told about children. On the loop."""

    def child_started(self, number: int, pid: int) -> None:
        """The child has a process."""

    def child_exited(self, number: int, status: int | None) -> None:
        """The process is gone; the wait status is None where nobody could ask for it."""

    def child_stopped(self, number: int) -> None:
        """Someone has sent SIGSTOP to the process: it runs nothing."""

    def child_continued(self, number: int) -> None:
        """The process runs again."""

    def child_failed(self, number: int, reason: str) -> None:
        """There is no process, and will be none."""

    def childless(self, reason: str) -> None:
        """There will be no children any more."""


class Nursery(Protocol):
    """Makes processes that run :func:`~umbel.pools.prefork.child.be_child`."""

    def prepare(self) -> None:
        """Fork what has to be forked before the event loop runs."""

    def attach(self, loop: asyncio.AbstractEventLoop, family: Family) -> None:
        """From now on ``family`` is told, on ``loop``."""

    def start(self, number: int, slot: int, ends: tuple[socket.socket, socket.socket]) -> None:
        """Ask for a child that has the ``ends`` of its channels; closes them here."""

    def refresh(self, modules: Sequence[str], *, reload: bool) -> None:
        """See that children that are started from now on have imported these modules, again
        where ``reload`` says so."""

    def close(self) -> None:
        """End what makes children."""


class _Line:
    """The parent's end of the channel to one zygote."""

    def __init__(self, sock: socket.socket, wait: Callable[[], object] | None) -> None:
        self.sock = sock
        self.wait = wait
        """Waits for the process; None: it was forked by another zygote, which does that."""
        self.heard = bytearray()


class ZygoteNursery:
    """Has a zygote fork the children.

    There are two zygotes: one works, one waits in case the other is killed, and then first
    forks another to wait in its place. All pages are shared, so a zygote costs next to nothing.
    """

    def __init__(
        self,
        make_runner: Callable[[], Runner],
        slots: Slots,
        traits: Traits,
        *,
        fresh: bool = False,
    ) -> None:
        self._make_runner = make_runner
        self._slots = slots
        self._traits = traits
        self._birth = Birth.of(make_runner, slots, traits) if fresh else None
        self._lines: list[_Line] = []
        self._pid_by_number: dict[int, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._family: Family | None = None

    def prepare(self) -> None:
        """Fork the zygotes."""
        sys.stdout.flush()
        sys.stderr.flush()
        if self._birth is None:
            if sys.platform == "linux":
                libc()
            # Garbage and its gaps would be copied into every child; what is left stays shared
            # as long as nobody's collector visits it.
            gc.collect()
            gc.freeze()
        for _ in range(2):
            ours, theirs = socket.socketpair()
            self._lines.append(_Line(ours, self._fork(ours, theirs)))
            theirs.close()

    def attach(self, loop: asyncio.AbstractEventLoop, family: Family) -> None:
        """From now on ``family`` is told, on ``loop``."""
        self._loop = loop
        self._family = family
        for line in self._lines:
            self._listen(line)

    def start(self, number: int, slot: int, ends: tuple[socket.socket, socket.socket]) -> None:
        """Ask for a child that has the ``ends`` of its channels; closes them here."""
        self._pid_by_number[number] = 0
        try:
            self._order(CHILD, number, slot, ends)
        except OSError as error:
            # Told on the loop's next turn: the caller is not done with starting it.
            self._loop_().call_soon(self._fail, number, f"the zygote does not listen: {error}")

    def refresh(self, modules: Sequence[str], *, reload: bool) -> None:
        """Have both zygotes import the modules."""
        if not modules:
            return
        with tempfile.TemporaryFile() as file:
            file.write(json.dumps([list(modules), reload]).encode())
            file.flush()
            for line in self._lines:
                # One that is gone says so on its own line.
                with contextlib.suppress(OSError):
                    socket.send_fds(line.sock, [ORDER.pack(REFRESH, 0, 0)], [file.fileno()])

    def close(self) -> None:
        """End the zygotes."""
        lines, self._lines = self._lines, []
        for line in lines:
            self._hang_up(line)
        if self._birth is None:
            gc.unfreeze()

    def _fork(self, ours: socket.socket, theirs: socket.socket) -> Callable[[], object]:
        if self._birth is not None:
            return launch(self._birth, [theirs]).wait
        pid = os.fork()
        if not pid:
            # Whoever holds the parent's ends would not notice the parent's death.
            for sock in (ours, *(line.sock for line in self._lines)):
                sock.close()
            be_zygote(theirs, self._make_runner, self._slots, self._traits)
        return functools.partial(os.waitpid, pid, 0)

    def _listen(self, line: _Line) -> None:
        line.sock.setblocking(False)
        self._loop_().add_reader(line.sock.fileno(), self._hear, line)

    def _hear(self, line: _Line) -> None:
        try:
            data = line.sock.recv(64 * REPORT.size)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._bury(line)
            return
        line.heard += data
        whole = len(line.heard) - len(line.heard) % REPORT.size
        reports = bytes(line.heard[:whole])
        del line.heard[:whole]
        family = self._family
        assert family is not None, "attach() comes first"
        for what, number, pid, status in REPORT.iter_unpack(reports):
            if what == STARTED:
                self._pid_by_number[number] = pid
                family.child_started(number, pid)
            elif what == EXITED:
                self._pid_by_number.pop(number, None)
                family.child_exited(number, status)
            elif what == STOPPED:
                family.child_stopped(number)
            elif what == CONTINUED:
                family.child_continued(number)
            else:
                self._fail(number, f"cannot fork: {os.strerror(status)}")

    def _fail(self, number: int, reason: str) -> None:
        assert self._family is not None, "attach() comes first"
        if self._pid_by_number.pop(number, None) is not None:
            self._family.child_failed(number, reason)

    def _bury(self, line: _Line) -> None:
        """A zygote is gone: so are its children. Put the other one in its place."""
        was_working = self._lines and self._lines[0] is line
        self._lines.remove(line)
        self._hang_up(line)
        logger.critical(
            "Process %r is gone; %d left", f"{self._traits.name} zygote", len(self._lines)
        )
        if self._lines:
            ours, theirs = socket.socketpair()
            try:
                self._order(ZYGOTE, 0, 0, (theirs,))
            except OSError:
                # Gone as well; its own line says so next.
                ours.close()
            else:
                another = _Line(ours, None)
                self._lines.append(another)
                self._listen(another)
        assert self._family is not None, "attach() comes first"
        if not self._lines:
            self._family.childless("both zygotes are gone; restart the worker")
        if not was_working:
            return
        orphans, self._pid_by_number = self._pid_by_number, {}
        for number, pid in orphans.items():
            if pid:
                # The kernel has done it already where it can; elsewhere nobody else would.
                _kill(pid)
            self._family.child_exited(number, None)

    def _order(self, what: int, number: int, slot: int, ends: tuple[socket.socket, ...]) -> None:
        try:
            if not self._lines:
                raise OSError("no zygote is left")
            fds = [end.fileno() for end in ends]
            socket.send_fds(self._lines[0].sock, [ORDER.pack(what, number, slot)], fds)
        finally:
            for end in ends:
                end.close()

    def _hang_up(self, line: _Line) -> None:
        if self._loop is not None:
            self._loop.remove_reader(line.sock.fileno())
        # Not only close: another pool's zygote may have inherited the descriptor. It fails when
        # it was the zygote that ended.
        with contextlib.suppress(OSError):
            line.sock.shutdown(socket.SHUT_RDWR)
        line.sock.close()
        if line.wait is not None:
            line.wait()

    def _loop_(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None, "attach() comes first"
        return self._loop


class SpawnNursery:
    """Starts every child as a new interpreter: slow and large, but it inherits nothing."""

    def __init__(self, birth: Birth) -> None:
        self._birth = birth
        self._loop: asyncio.AbstractEventLoop | None = None
        self._family: Family | None = None

    def prepare(self) -> None:
        """Nothing to fork."""

    def attach(self, loop: asyncio.AbstractEventLoop, family: Family) -> None:
        """From now on ``family`` is told, on ``loop``."""
        self._loop = loop
        self._family = family

    def start(self, number: int, slot: int, ends: tuple[socket.socket, socket.socket]) -> None:
        """Start a child that has the ``ends`` of its channels; closes them here."""
        assert self._loop is not None, "attach() comes first"
        assert self._family is not None, "attach() comes first"
        try:
            process = launch(self._birth, list(ends), number=number, slot=slot)
        except OSError as error:
            self._loop.call_soon(self._family.child_failed, number, f"cannot spawn: {error}")
            return
        finally:
            for end in ends:
                end.close()
        # After start() has returned, as with every other nursery.
        self._loop.call_soon(self._family.child_started, number, process.pid)
        # One thread each: the only way to wait for one process that every platform has.
        arguments = (self._loop, self._family, number, process)
        threading.Thread(
            target=_wait, args=arguments, name=f"umbel-wait-{number}", daemon=True
        ).start()

    def refresh(self, modules: Sequence[str], *, reload: bool) -> None:
        """Nothing to do: every child imports everything anew."""

    def close(self) -> None:
        """Nothing to end."""


def _wait(
    loop: asyncio.AbstractEventLoop, family: Family, number: int, process: subprocess.Popen[bytes]
) -> None:
    while True:
        # Not Popen.wait, which does not tell of stops.
        _, status = os.waitpid(process.pid, os.WUNTRACED | os.WCONTINUED)
        if os.WIFSTOPPED(status):
            tell = functools.partial(family.child_stopped, number)
        elif os.WIFCONTINUED(status):
            tell = functools.partial(family.child_continued, number)
        else:
            break
        # The loop may be closed: then nobody wants to know any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell)
    # So that Popen neither waits nor warns.
    process.returncode = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(family.child_exited, number, status)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def make_nursery(
    start_method: StartMethod,
    make_runner: Callable[[], Runner],
    slots: Slots,
    traits: Traits,
) -> Nursery:
    """What makes children in this way."""
    if start_method == "spawn":
        return SpawnNursery(Birth.of(make_runner, slots, traits))
    return ZygoteNursery(make_runner, slots, traits, fresh=start_method == "forkserver")
