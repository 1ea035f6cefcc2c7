"""A debugger for tasks, reached over the network: ``telnet 127.0.0.1 6899``.

::

    from umbel.contrib import rdb


    @app.task
    def add(x, y):
        total = x + y
        rdb.set_trace()
        return total

The task stands still there until somebody connects, and says in the log where. In a session the
commands are those of ``pdb``; ``continue``, ``quit``, ``exit`` and hanging up let the task go on.

``CELERY_RDB_HOST`` is the address to listen at, by default only for this machine: whoever connects
may run what he likes. ``CELERY_RDB_PORT`` is the first of a hundred ports that are tried.

Source:
    Celery reference, ``celery.contrib.rdb``: names, environment variables, what is printed.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from inspect import currentframe
from pdb import Pdb
from types import FrameType
from typing import Any, Self, TextIO

__all__ = [
    "CELERY_RDB_HOST",
    "CELERY_RDB_PORT",
    "DEFAULT_PORT",
    "Rdb",
    "debugger",
    "set_trace",
]

DEFAULT_PORT = 6899

CELERY_RDB_HOST = os.environ.get("CELERY_RDB_HOST") or "127.0.0.1"
CELERY_RDB_PORT = int(os.environ.get("CELERY_RDB_PORT") or DEFAULT_PORT)

_TAKEN = (errno.EADDRINUSE, errno.EACCES, errno.EINVAL)
_LAST_PORT = 65535

_active: Rdb | None = None


class Rdb(Pdb):
    """A debugger whose terminal is a connection. Making one waits until somebody connects.

    It leaves this process's own standard input and output alone, so that other threads keep them.
    """

    me = "Remote Debugger"

    def __init__(
        self,
        host: str = CELERY_RDB_HOST,
        port: int = CELERY_RDB_PORT,
        port_search_limit: int = 100,
        port_skew: int = 0,
        out: TextIO | None = None,
    ) -> None:
        """Listen, say where, and wait.

        Args:
            port: The first that is tried; ``port_skew`` is added.
            port_search_limit: How many are tried.
            out: Where to say it; None: standard output, which in workers is the log.

        Raises:
            OSError: No port is free, or the address is none of this machine's.
        """
        self.active = True
        self.out = out or sys.stdout
        listener, port = self.get_avail_port(host, port, port_search_limit, port_skew)
        with listener:
            listener.listen(1)
            self.ident = f"{self.me}:{port}"
            self.host = host
            self.port = port
            self.say(
                f"{self.ident}: Ready to connect: telnet {host} {port}\n\n"
                "Type `exit` in session to continue.\n\n"
                f"{self.ident}: Waiting for client...\n"
            )
            self._client, address = listener.accept()
        self.remote_addr = ":".join(str(part) for part in address)
        self.say(f"{self.ident}: Now in session with {self.remote_addr}.")
        # Whoever types may send what is no text. Two files: writing to one for both directions
        # would drop what was typed ahead.
        reader, writer = (
            self._client.makefile(mode, encoding="utf-8", errors="replace") for mode in ("r", "w")
        )
        self._ends = (reader, writer, self._client)
        super().__init__(completekey="tab", stdin=reader, stdout=writer, nosigint=True)

    def get_avail_port(
        self, host: str, port: int, search_limit: int = 100, skew: int = 0
    ) -> tuple[socket.socket, int]:
        """A socket at the first free port, and the port.

        Raises:
            OSError: None is free, or the address is none of this machine's.
        """
        first = port + skew
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for candidate in range(first, min(first + search_limit, _LAST_PORT + 1)):
            listener = socket.socket(family, socket.SOCK_STREAM)
            try:
                if os.name != "nt":
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((host, candidate))
            except OSError as error:
                listener.close()
                if error.errno not in _TAKEN:
                    raise
            else:
                return listener, candidate
        raise OSError(
            errno.EADDRINUSE,
            f"{self.me}: none of the {search_limit} ports from {first} on is free at {host}; "
            "say another one in the environment variable CELERY_RDB_PORT",
        )

    def say(self, m: str) -> None:
        """Say something where the program is, not where the debugger is."""
        print(m, file=self.out, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_session()

    def interaction(self, *args: Any, **kwargs: Any) -> None:
        """Take commands, as long as there is somebody who gives them."""
        try:
            super().interaction(*args, **kwargs)
        except OSError:
            # He has gone without a word; what his commands raise does not come here.
            self.do_continue("")

    def do_continue(self, arg: str) -> bool | None:
        """Hang up, and let the program go on."""
        self._close_session()
        self.set_continue()
        return True

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> bool | None:
        """The same: the task is not to fail because somebody has looked at it."""
        return self.do_continue(arg)

    do_q = do_exit = do_EOF = do_quit  # noqa: N815 - the names are pdb's

    def set_quit(self) -> None:
        """Stop tracing, instead of raising ``BdbQuit`` into the program."""
        sys.settrace(None)

    def _close_session(self) -> None:
        if not self.active:
            return
        self.active = False
        for end in self._ends:
            try:
                end.close()
            except OSError:
                # The other side has hung up before the last line was sent.
                continue
        self.say(f"{self.ident}: Session with {self.remote_addr} ended.")


def debugger() -> Rdb:
    """The debugger whose session goes on; else a new one, which waits until somebody connects."""
    global _active  # noqa: PLW0603 - one session at a time
    if _active is None or not _active.active:
        _active = Rdb()
    return _active


def set_trace(frame: FrameType | None = None) -> Any:
    """Stop here, or in ``frame``, and let somebody look."""
    return debugger().set_trace(frame or _caller())


def _caller() -> FrameType | None:
    """Who has called who calls this."""
    here = currentframe()
    return here.f_back.f_back if here is not None and here.f_back is not None else None
