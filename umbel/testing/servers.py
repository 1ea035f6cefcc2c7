"""Real servers for a test run: private, on a free port of the loopback, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["RedisServer", "ServerMissing", "redis_server", "required"]

_STARTS_WITHIN = 15.0
_STOPS_WITHIN = 10.0


class ServerMissing(Exception):
    """The server is not installed here."""


def required(name: str) -> bool:
    """Whether ``UMBEL_REQUIRE`` (names, separated by commas) says that tests of ``name`` must run.

    On a laptop a missing server skips its tests; in continuous integration it fails them.
    """
    return name in os.environ.get("UMBEL_REQUIRE", "").replace(" ", "").split(",")


class RedisServer:
    """A ``redis-server`` process of our own, with nothing in it, that keeps nothing on disk.

    Args:
        arguments: Further configuration: ``"--requirepass", "secret"``.

    Raises:
        ServerMissing: There is no ``redis-server`` on this machine.
    """

    def __init__(self, *arguments: str) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise ServerMissing("redis-server is not installed (or not on PATH)")
        self._binary = binary
        self._arguments: Sequence[str] = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="umbel-redis-"))
        self.port = _free_port()
        self.socket_path = self._folder / "redis.sock"

    def url(self, db: int = 0, *, login: str = "") -> str:
        """Where to find it; ``login`` is ``user:password``."""
        return f"redis://{login}{'@' if login else ''}127.0.0.1:{self.port}/{db}"

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers. Again after :meth:`stop`: same port, no data.

        Raises:
            RuntimeError: It ended, or did not answer in time; says what it logged.
        """
        log = self._folder / "redis.log"
        command = [
            *(self._binary, "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--unixsocket", str(self.socket_path), "--dir", str(self._folder)),
            *("--save", "", "--appendonly", "no", "--logfile", str(log), *self._arguments),
        ]
        self._process = subprocess.Popen(  # noqa: S603 - our own command, without a shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + _STARTS_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-2000:] if log.exists() else "nothing"
                self.stop()
                raise RuntimeError(f"redis-server does not start; it said:\n{said}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            process.wait(_STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it hang: connections stand, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def flush(self, db: int = 0) -> None:
        """Empty a database."""
        with socket.create_connection(("127.0.0.1", self.port), 5.0) as connection:
            connection.sendall(b"SELECT %d\r\nFLUSHDB\r\n" % db)
            answer = b""
            while answer.count(b"\r\n") < 2:
                answer += connection.recv(256)
        assert answer == b"+OK\r\n+OK\r\n", answer

    def remove(self) -> None:
        """End it and delete its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                connection.sendall(b"PING\r\n")
                # With a password it answers NOAUTH: that is an answer too.
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


@contextmanager
def redis_server(*arguments: str) -> Generator[RedisServer]:
    """A running server, removed at the end.

    Raises:
        ServerMissing: There is no ``redis-server`` on this machine.
    """
    server = RedisServer(*arguments)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
