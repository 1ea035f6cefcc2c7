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
from urllib.parse import quote

__all__ = [
    "RabbitMQServer",
    "RedisServer",
    "ServerMissing",
    "free_port",
    "rabbitmq_server",
    "redis_server",
    "required",
]

_STARTS_WITHIN = 15.0
_STOPS_WITHIN = 10.0
_RABBIT_STARTS_WITHIN = 90.0


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
        self.port = free_port()
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
        """Start it, and wait until it answers. Again after :meth:`stop`: same port, and
        no data unless ``"--appendonly", "yes"`` keeps them.

        Raises:
            RuntimeError: It ended, or did not answer in time; says what it logged.
        """
        log = self._folder / "redis.log"
        # Sentinels write down what they know, and do not start without a file for it.
        configuration = self._folder / "redis.conf"
        configuration.touch()
        command = [
            *(self._binary, str(configuration), "--port", str(self.port), "--bind", "127.0.0.1"),
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

    def configure(self, parameter: str, value: str) -> None:
        """Change its configuration while it runs; forgotten when it is started again."""
        self.order(f"CONFIG SET {parameter} {value}")

    def order(self, command: str) -> None:
        """Give it a command that is answered by OK."""
        with socket.create_connection(("127.0.0.1", self.port), 5.0) as connection:
            connection.sendall(f"{command}\r\n".encode())
            answer = connection.recv(256)
        assert answer.startswith(b"+OK"), answer

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


class RabbitMQServer:
    """A RabbitMQ node of our own, with its own ``epmd``, all on the loopback.

    Its data survive :meth:`kill` and :meth:`stop`, until :meth:`remove`.

    Args:
        settings: Lines of ``rabbitmq.conf``: ``"consumer_timeout = 10000"``.
        tls: The files of the authority, the certificate and the key with which it also listens
            on :attr:`tls_port`.

    Raises:
        ServerMissing: There is no RabbitMQ on this machine.
    """

    def __init__(self, *settings: str, tls: tuple[str, str, str] | None = None) -> None:
        self._script = _rabbitmq_script()
        self.tls_port = 0 if tls is None else free_port()
        if tls is not None:
            named = zip(("cacertfile", "certfile", "keyfile"), tls, strict=True)
            settings = (
                f"listeners.ssl.default = 127.0.0.1:{self.tls_port}",
                *(f"ssl_options.{name} = {file}" for name, file in named),
                *settings,
            )
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix="umbel-rabbitmq-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._ports = free_port(), free_port()
        self._name = f"umbel-{self.port}@localhost"

    def url(self, vhost: str = "/", *, login: str = "guest:guest", scheme: str = "amqp") -> str:
        """Where to find it; ``login`` is ``user:password``."""
        return f"{scheme}://{login}@127.0.0.1:{self.port}/{quote(vhost, safe='')}"

    def tls_url(self) -> str:
        """Where to find it with TLS."""
        return f"amqps://guest:guest@127.0.0.1:{self.tls_port}/%2F"

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it takes connections. Again after :meth:`kill`: same data.

        Raises:
            RuntimeError: It ended, or did not answer in time; says what it logged.
        """
        folder = self._folder
        (folder / "enabled_plugins").write_text("[].\n")
        lines = (f"listeners.tcp.default = 127.0.0.1:{self.port}", *self._settings)
        (folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        if self._epmd is None:
            # Ours, so that it ends with us: the node would leave a daemon behind.
            epmd = shutil.which("epmd") or "epmd"
            self._epmd = subprocess.Popen(  # noqa: S603 - our own command, without a shell
                [epmd, "-port", str(self._ports[0]), "-address", "127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            _wait_for_port(self._ports[0], _STARTS_WITHIN)
        with (folder / "output").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command, without a shell
                [self._script],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + _RABBIT_STARTS_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (folder / "output").read_text(errors="replace")[-4000:]
                self.stop()
                raise RuntimeError(f"rabbitmq-server does not start; it said:\n{said}")
            time.sleep(0.05)

    def control(self, *arguments: str) -> str:
        """What ``rabbitmqctl`` says; takes a second or two."""
        command = Path(self._script).with_name("rabbitmqctl")
        return subprocess.run(  # noqa: S603 - our own command, without a shell
            [str(command), "-q", "-n", self._name, *arguments],
            env=self._environment(),
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    def stop(self) -> None:
        """End it in order. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
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

    def remove(self) -> None:
        """End it, at once, and delete its folder."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        folder = self._folder
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._ports[0]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(self._ports[1]),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            # The script becomes the server, instead of watching over it: one process to end.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-noinput +sbwt none -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                # It speaks first; nothing comes while it is still starting.
                return connection.recv(1) == b"\x01"
        except OSError:
            return False


@contextmanager
def rabbitmq_server(
    *settings: str, tls: tuple[str, str, str] | None = None
) -> Generator[RabbitMQServer]:
    """A running server, removed at the end.

    Raises:
        ServerMissing: There is no RabbitMQ on this machine.
    """
    server = RabbitMQServer(*settings, tls=tls)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _rabbitmq_script() -> str:
    """The script itself: what packages put on PATH changes the user first."""
    own = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    if own and os.access(own[-1], os.X_OK):
        return str(own[-1])
    found = shutil.which("rabbitmq-server")
    if found is None:
        raise ServerMissing("rabbitmq-server is not installed (or not on PATH)")
    return found


def _wait_for_port(port: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def free_port() -> int:
    """A port of the loopback that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
