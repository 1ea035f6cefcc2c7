"""RabbitMQ nodes of our own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from umbel.testing.servers.ports import free_port, says, wait_for_port
from umbel.testing.servers.process import ServerMissing, ServerProcess

__all__ = ["RabbitMQServer", "rabbitmq_server"]

_STARTS_WITHIN = 180.0
_EPMD_STARTS_WITHIN = 60.0


class RabbitMQServer(ServerProcess):
    """A RabbitMQ node with its own ``epmd``, all on the loopback.

    Its data survive :meth:`kill` and :meth:`stop`, until :meth:`remove`.

    Args:
        settings: Lines of ``rabbitmq.conf``: ``"consumer_timeout = 10000"``.
        tls: The files of the authority, the certificate and the key with which it also listens
            on :attr:`tls_port`.
        vhosts: What there is beside ``/``.

    Raises:
        ServerMissing: There is no RabbitMQ on this machine.
    """

    def __init__(
        self,
        *settings: str,
        tls: tuple[str, str, str] | None = None,
        vhosts: Sequence[str] = (),
    ) -> None:
        self._script = _script()
        super().__init__("rabbitmq-server", starts_within=_STARTS_WITHIN)
        self.tls_port = 0 if tls is None else free_port()
        if tls is not None:
            named = zip(("cacertfile", "certfile", "keyfile"), tls, strict=True)
            settings = (
                f"listeners.ssl.default = 127.0.0.1:{self.tls_port}",
                *(f"ssl_options.{name} = {file}" for name, file in named),
                *settings,
            )
        if vhosts:
            definitions = self._folder / "definitions.json"
            definitions.write_text(_definitions("/", *vhosts))
            settings = (f"load_definitions = {definitions}", *settings)
        self._settings = settings
        self._epmd: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._epmd_port, self._distribution_port = free_port(), free_port()
        self._node = f"umbel-{self.port}@localhost"

    def url(self, vhost: str = "/", *, login: str = "guest:guest", scheme: str = "amqp") -> str:
        """Where to find it; ``login`` is ``user:password``."""
        return f"{scheme}://{login}@127.0.0.1:{self.port}/{quote(vhost, safe='')}"

    def tls_url(self) -> str:
        """Where to find it with TLS."""
        return f"amqps://guest:guest@127.0.0.1:{self.tls_port}/%2F"

    def start(self) -> None:
        """Start it, its ``epmd`` first; see :meth:`ServerProcess.start`."""
        (self._folder / "enabled_plugins").write_text("[].\n")
        lines = (f"listeners.tcp.default = 127.0.0.1:{self.port}", *self._settings)
        (self._folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        if self._epmd is None:
            # Ours, so that it ends with us: the node would leave a daemon behind.
            epmd = shutil.which("epmd") or "epmd"
            self._epmd = subprocess.Popen(  # noqa: S603 - our own command, without a shell
                [epmd, "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            wait_for_port(self._epmd_port, _EPMD_STARTS_WITHIN)
        super().start()

    def control(self, *arguments: str) -> str:
        """What ``rabbitmqctl`` says; takes a second or two."""
        command = Path(self._script).with_name("rabbitmqctl")
        return subprocess.run(  # noqa: S603 - our own command, without a shell
            [str(command), "-q", "-n", self._node, *arguments],
            env=self._environment(),
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout

    def remove(self) -> None:
        """End it and its ``epmd``, at once, and delete its folder."""
        super().remove()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None

    def _command(self) -> Sequence[str]:
        return [self._script]

    def _environment(self) -> Mapping[str, str]:
        folder = self._folder
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
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
        # It speaks first; nothing comes while it is still starting.
        return says(self.port, b"AMQP\x00\x00\x09\x01").startswith(b"\x01")


@contextmanager
def rabbitmq_server(
    *settings: str, tls: tuple[str, str, str] | None = None, vhosts: Sequence[str] = ()
) -> Generator[RabbitMQServer]:
    """A running server, removed at the end.

    Raises:
        ServerMissing: There is no RabbitMQ on this machine.
    """
    server = RabbitMQServer(*settings, tls=tls, vhosts=vhosts)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _definitions(*vhosts: str) -> str:
    """What a node reads when it starts: with any of it, it makes no user of its own."""
    everything = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
    return json.dumps(
        {
            "users": [{"name": "guest", "password": "guest", "tags": "administrator"}],
            "vhosts": [{"name": vhost} for vhost in vhosts],
            "permissions": [{"vhost": vhost, **everything} for vhost in vhosts],
        }
    )


def _script() -> str:
    """The script itself: what packages put on PATH changes the user first."""
    own = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    if own and os.access(own[-1], os.X_OK):
        return str(own[-1])
    found = shutil.which("rabbitmq-server")
    if found is None:
        raise ServerMissing("rabbitmq", "rabbitmq-server")
    return found
