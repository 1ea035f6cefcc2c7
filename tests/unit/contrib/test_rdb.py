"""The remote debugger, with a client of its own."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

from umbel.contrib import rdb
from umbel.testing.servers import free_port

PATIENCE = 60.0


class Session:
    """A task that stops in the debugger, and the way to it."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        self.total = 0
        self.stdout: object = None
        self.port = free_port()
        self._thread = threading.Thread(target=self._task, daemon=True)
        self._thread.start()

    def _task(self) -> None:
        total = 41
        with rdb.Rdb(port=self.port, out=self.log) as debugger:
            debugger.set_trace()
            self.stdout = sys.stdout
            total += 1
        self.total = total

    def connect(self) -> socket.socket:
        deadline = time.monotonic() + PATIENCE
        while "Waiting for client" not in self.log.getvalue():
            assert time.monotonic() < deadline, self.log.getvalue()
            time.sleep(0.01)
        found = re.search(r"telnet (\S+) (\d+)", self.log.getvalue())
        assert found is not None
        return socket.create_connection((found[1], int(found[2])), PATIENCE)

    def ends(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture
def session() -> Session:
    return Session()


def _talk(connection: socket.socket, *lines: str) -> str:
    with connection, connection.makefile("rwb") as file:
        # As telnet ends lines, and faster than anybody types.
        file.write("".join(f"{line}\r\n" for line in lines).encode())
        file.flush()
        return file.read().decode()


@pytest.mark.parametrize("last", ["c", "continue", "q", "quit", "exit"])
def test_whoever_connects_looks_and_lets_the_task_go_on(session: Session, last: str) -> None:
    said = _talk(session.connect(), "p total", "total = 1", last)

    session.ends()
    assert "(Pdb) 41" in said
    assert session.total == 2
    assert (
        f"Remote Debugger:{session.port}: Now in session with 127.0.0.1:" in session.log.getvalue()
    )
    assert session.log.getvalue().endswith("ended.\n")


def test_hanging_up_lets_the_task_go_on(session: Session) -> None:
    session.connect().close()

    session.ends()
    assert session.total == 42


def test_the_programs_own_output_stays_where_it_is(session: Session) -> None:
    before = sys.stdout

    _talk(session.connect(), "next", "next", "continue")

    session.ends()
    assert session.stdout is before


def test_a_taken_port_is_passed_over() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        debugger = rdb.Rdb.__new__(rdb.Rdb)
        listener, found = debugger.get_avail_port("127.0.0.1", port)
        with listener:
            assert port < found < port + 100
        with pytest.raises(OSError, match="CELERY_RDB_PORT"):
            debugger.get_avail_port("127.0.0.1", port, search_limit=1)


def test_the_environment_says_where() -> None:
    program = "from umbel.contrib import rdb; print(rdb.CELERY_RDB_HOST, rdb.CELERY_RDB_PORT)"

    said = subprocess.check_output(
        [sys.executable, "-c", program],
        env={**os.environ, "CELERY_RDB_HOST": "::1", "CELERY_RDB_PORT": "7000"},
        text=True,
        timeout=60,
    )

    assert said.strip() == "::1 7000"
