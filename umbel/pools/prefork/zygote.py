"""The process that children are forked from.

It has one thread, has imported what its parent had imported, and does nothing but fork, wait
and report. Its heap is frozen, so the pages it shares with its children stay shared.
"""

from __future__ import annotations

import array
import gc
import importlib
import json
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from struct import Struct
from typing import Final, NoReturn

from umbel.pools.prefork.child import Seat, Traits, be_child
from umbel.pools.prefork.process import die_with, libc, name_process
from umbel.pools.prefork.slots import Slots
from umbel.protocols import Runner

__all__ = [
    "CHILD",
    "CONTINUED",
    "EXITED",
    "FAILED",
    "ORDER",
    "REFRESH",
    "REPORT",
    "STARTED",
    "STOPPED",
    "ZYGOTE",
    "be_zygote",
]

logger = logging.getLogger(__name__)

ORDER = Struct("=III")
"""What, the number of the child, its slot. File descriptors travel beside it."""
CHILD: Final = 1
"""Fork a child; comes with its ends of the data and the control channel."""
ZYGOTE: Final = 2
"""Fork another zygote; comes with its end of the channel to the parent."""
REFRESH: Final = 3
"""Import modules; comes with a file: their names, and whether to import them again, as JSON."""

REPORT = Struct("=IIii")
"""What, the number of the child, its process id, and the wait status or the error number."""
STARTED: Final = 1
EXITED: Final = 2
FAILED: Final = 3
STOPPED: Final = 4
"""By SIGSTOP or the terminal; it runs nothing until it is continued."""
CONTINUED: Final = 5

_FDS_BY_ORDER = {CHILD: 2, ZYGOTE: 1, REFRESH: 1}
_DEAF = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)


def be_zygote(
    parent: socket.socket, make_runner: Callable[[], Runner], slots: Slots, traits: Traits
) -> NoReturn:
    """Be a zygote from here on, until the parent closes its end or dies."""
    code = 1
    try:
        # Signals to the whole group are for the parent; it closes the channel when it ends.
        for number in _DEAF:
            signal.signal(number, signal.SIG_IGN)
        name_process(traits.name, "Zygote")
        Zygote(parent, make_runner, slots, traits).serve()
        code = 0
    except Exception:
        logger.critical(
            "Process %r pid:%d failed", f"{traits.name} zygote", os.getpid(), exc_info=True
        )
    finally:
        # Nothing of the parent's may be cleaned up here: no atexit, no buffers, no finally.
        os._exit(code)


class Zygote:
    """Forks when it is told to, and reports who ended how."""

    def __init__(
        self, parent: socket.socket, make_runner: Callable[[], Runner], slots: Slots, traits: Traits
    ) -> None:
        self._parent = parent
        self._make_runner = make_runner
        self._slots = slots
        self._traits = traits
        self._number_by_pid: dict[int, int] = {}
        self._orders = bytearray()
        self._fds: list[int] = []
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._ring, False)

    def serve(self) -> None:
        """Obey and report until the parent is gone; then nobody is left behind."""
        if sys.platform == "linux":
            libc()
        gc.freeze()
        self._parent.setblocking(True)
        signal.signal(signal.SIGCHLD, _noted)
        signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        poll.register(self._parent, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._bell in ready:
                os.read(self._bell, 4096)
                self._reap()
            if self._parent.fileno() in ready and not self._obey():
                break
        for pid in self._number_by_pid:
            os.kill(pid, signal.SIGKILL)

    def _obey(self) -> bool:
        """Read orders and carry out those that are whole; False when the parent is gone."""
        try:
            data, ancillary, _, _ = self._parent.recvmsg(4096, socket.CMSG_SPACE(64 * 4))
        except ConnectionError:
            return False
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                self._fds += fds
        self._orders += data
        while len(self._orders) >= ORDER.size:
            what, number, slot = ORDER.unpack_from(self._orders)
            del self._orders[: ORDER.size]
            count = _FDS_BY_ORDER[what]
            fds_, self._fds = self._fds[:count], self._fds[count:]
            if what == REFRESH:
                _refresh(fds_[0])
            else:
                self._fork(what, number, slot, [socket.socket(fileno=fd) for fd in fds_])
        return bool(data)

    def _fork(self, what: int, number: int, slot: int, ends: list[socket.socket]) -> None:
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._report(FAILED, number, 0, error.errno or 0)
        else:
            if not pid:
                self._be_born(what, number, slot, ends, zygote)
            if what == CHILD:
                self._number_by_pid[pid] = number
                self._report(STARTED, number, pid, 0)
        for end in ends:
            end.close()

    def _be_born(
        self, what: int, number: int, slot: int, ends: list[socket.socket], zygote: int
    ) -> NoReturn:
        """In the new process."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            self._parent.close()
            os.close(self._bell)
            os.close(self._ring)
            if what == ZYGOTE:
                be_zygote(ends[0], self._make_runner, self._slots, self._traits)
            die_with(zygote)
            seat = Seat(ends[0], ends[1], self._slots, slot, f"ForkPoolWorker-{number}")
            code = be_child(self._make_runner, seat, self._traits)
        finally:
            os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return
            if not pid:
                return
            number = self._number_by_pid.get(pid)
            if number is None:
                continue
            if os.WIFSTOPPED(status):
                self._report(STOPPED, number, pid, status)
            elif os.WIFCONTINUED(status):
                self._report(CONTINUED, number, pid, status)
            else:
                del self._number_by_pid[pid]
                self._report(EXITED, number, pid, status)

    def _report(self, what: int, number: int, pid: int, status: int) -> None:
        try:
            self._parent.sendall(REPORT.pack(what, number, pid, status))
        except (BrokenPipeError, ConnectionResetError):
            # The parent is gone; the next read says so.
            return


def _refresh(fd: int) -> None:
    """Import what the file names; what cannot be imported is left as it was."""
    with os.fdopen(fd, "rb") as file:
        # Both zygotes have it: the place in it is theirs together.
        modules, reload = json.loads(os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0))
    for name in modules:
        try:
            if reload and name in sys.modules:
                importlib.reload(sys.modules[name])
            else:
                importlib.import_module(name)
        except Exception:
            # Whatever the user's modules do.
            logger.exception("Cannot import %s for the children of the pool", name)
    gc.collect()
    gc.freeze()


def _noted(number: int, frame: object) -> None:
    """A handler, so that the signal writes to the wake-up pipe."""
