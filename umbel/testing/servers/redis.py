"""Redis servers of our own."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from umbel.testing.servers.ports import free_port, says
from umbel.testing.servers.process import ServerMissing, ServerProcess

__all__ = ["RedisServer", "redis_server"]

_STARTS_WITHIN = 60.0


class RedisServer(ServerProcess):
    """A ``redis-server`` process with nothing in it, that keeps nothing on disk: started again
    after :meth:`stop`, it has no data, unless ``"--appendonly", "yes"`` keeps them.

    Args:
        arguments: Further configuration: ``"--requirepass", "secret"``.

    Raises:
        ServerMissing: There is no ``redis-server`` on this machine.
    """

    def __init__(self, *arguments: str) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise ServerMissing("redis", "redis-server")
        super().__init__("redis-server", starts_within=_STARTS_WITHIN)
        self._binary = binary
        self._arguments = arguments
        self.port = free_port()
        self.socket_path = self._folder / "redis.sock"

    def url(self, db: int = 0, *, login: str = "") -> str:
        """Where to find it; ``login`` is ``user:password``."""
        return f"redis://{login}{'@' if login else ''}127.0.0.1:{self.port}/{db}"

    def flush(self, db: int = 0) -> None:
        """Empty a database."""
        with socket.create_connection(("127.0.0.1", self.port), 5.0) as connection:
            connection.sendall(b"SELECT %d\r\nFLUSHDB\r\n" % db)
            answer = b""
            while answer.count(b"\r\n") < 2:
                answer += connection.recv(256)
        assert answer == b"+OK\r\n+OK\r\n", answer

    def configure(self, parameter: str, value: str) -> None:
        """Change its configuration while it runs; forgotten when it is started again."""
        self.order(f"CONFIG SET {parameter} {value}")

    def order(self, command: str) -> None:
        """Give it a command that is answered by OK."""
        with socket.create_connection(("127.0.0.1", self.port), 5.0) as connection:
            connection.sendall(f"{command}\r\n".encode())
            answer = connection.recv(256)
        assert answer.startswith(b"+OK"), answer

    def _command(self) -> Sequence[str]:
        # Sentinels write down what they know, and do not start without a file for it.
        configuration = self._folder / "redis.conf"
        configuration.touch()
        return [
            *(self._binary, str(configuration), "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--unixsocket", str(self.socket_path), "--dir", str(self._folder)),
            *("--save", "", "--appendonly", "no", *self._arguments),
        ]

    def _answers(self) -> bool:
        # With a password it answers NOAUTH: that is an answer too.
        return says(self.port, b"PING\r\n").startswith((b"+PONG", b"-NOAUTH"))


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
