"""A Redis client for batches: one connection, found again when it is lost."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import hiredis
from msgspec.structs import replace

from umbel.drivers.redis.address import Address, Place
from umbel.drivers.redis.finding import Finder, NotFound
from umbel.drivers.redis.link import Link, LinkLost, Push, Reply, join, pack
from umbel.drivers.redis.options import ClientOptions
from umbel.drivers.redis.scripts import Script
from umbel.protocols import Clock

__all__ = ["TRANSIENT", "Client", "Refused", "check", "explain"]

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0
_TRIES = 4
"""How often a command that may be sent again is sent before its caller hears of the loss."""
_ELSEWHERE = ("READONLY", "MOVED", "ASK ", "CLUSTERDOWN", "MASTERDOWN", "LOADING")
"""What a server says that is not the right one, or not any more: the next connection finds it."""
TRANSIENT = (*_ELSEWHERE, "OOM", "MISCONF", "TRYAGAIN", "BUSY", "NOREPLICAS", "NOSCRIPT")
"""Refusals that time, or somebody, undoes: what was refused may be sent again."""
_HOPELESS = ("WRONGPASS", "NOAUTH", "NOPERM", "ERR AUTH", "ERR invalid password")


_CAUSES_BY_TYPE = (
    (TimeoutError, "no answer in time: is the address right, is a firewall in between?"),
    (socket.gaierror, "the host name is not known"),
    (ConnectionRefusedError, "connection refused: is Redis running there?"),
    (FileNotFoundError, "there is no such socket: is Redis running?"),
)
_CAUSES_BY_BEGINNING = (
    ("WRONGPASS", "wrong user name or password"),
    ("NOAUTH", "Redis asks for a password and the URL has none"),
    ("NOPERM", "the user may not do this"),
    ("LOADING", "Redis is still loading its data"),
    ("OOM", "Redis is out of memory (maxmemory)"),
    ("READONLY", "this Redis is a read-only replica"),
    ("MISCONF", "Redis refuses writes because it cannot save to disk"),
    ("CLUSTERDOWN", "the cluster is down"),
    ("MOVED", "the keys are on another node of the cluster, which redis+cluster:// URLs find"),
    ("CROSSSLOT", "this is a Redis Cluster: write the URL as redis+cluster://"),
    ("ASK", "the keys are moving to another node of the cluster"),
    ("TRYAGAIN", "the keys are moving to another node of the cluster"),
    ("MASTERDOWN", "the replica has lost its master"),
    ("BUSY", "Redis is busy with somebody's script"),
)


class Refused(Exception):
    """Redis answered with an error."""


class _Hopeless(Exception):
    """What trying again does not change: a wrong password, a server that is too old."""


def explain(exc: BaseException) -> str:
    """The likely cause of a failure, in a few words.

    >>> explain(ConnectionRefusedError(111, "Connect call failed"))
    'connection refused: is Redis running there?'
    """
    if isinstance(exc, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not to be trusted: {exc.verify_message} (ssl_ca_certs says whom to"
            " trust, ssl_check_hostname=false lets any name pass)"
        )
    for kind, cause in _CAUSES_BY_TYPE:
        if isinstance(exc, kind):
            return cause
    text = str(exc)
    for beginning, cause in _CAUSES_BY_BEGINNING:
        if text.startswith(beginning):
            return f"{cause}: {text}"
    return text or type(exc).__name__


def check(reply: Reply) -> Reply:
    """The reply, unless it is an error.

    Raises:
        Refused: It is one.
    """
    if isinstance(reply, hiredis.ReplyError):
        raise Refused(str(reply)) from reply
    return reply


class Client:
    """Commands to one Redis, as many callers as like at once, on one event loop.

    Args:
        error: What callers see when Redis is out of reach or refuses.
        scripts: Loaded on every new connection, so that they can be called by name at once.
        on_push: Gets what Redis says unasked.
        on_lost: Called when a connection is gone.
    """

    def __init__(
        self,
        place: Place,
        *,
        clock: Clock,
        options: ClientOptions,
        error: type[Exception],
        scripts: Sequence[Script] = (),
        on_push: Callable[[Push], None] = lambda _: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._place = place
        self._finder = Finder(place, self._dial_plainly, timeout=options.connect_timeout)
        self._clock = clock
        self._options = options
        self._error = error
        self._scripts = scripts
        self._on_push = on_push
        self._on_lost = on_lost
        self._link: Link | None = None
        self._connecting: asyncio.Task[Link] | None = None
        self._closed = False
        self.can_track = False
        """Whether Redis tells us about changed keys."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as one can know."""
        return self._link is not None

    @property
    def is_cluster(self) -> bool:
        """Whether the server is one of several that share the keys."""
        return self._place.kind == "cluster"

    async def open(self) -> None:
        """Connect, if not connected."""
        self.permit()
        await self._ready()

    def permit(self) -> None:
        """Let the next call connect, after :meth:`close`."""
        self._closed = False

    async def close(self) -> None:
        """Disconnect; calls under way fail, and so do later ones until :meth:`open`."""
        self._closed = True
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            await asyncio.wait([connecting])
        link, self._link = self._link, None
        if link is not None:
            link.close()
            await link.wait_closed()

    async def send(self, packed: bytes, replies: int, *, again: bool = False) -> list[Reply]:
        """Send packed commands in one write; the replies in order, errors among them.

        Args:
            again: It does no harm to send them again when the connection breaks.

        Raises:
            error: No connection, or it broke: what was sent may have been done or not.
        """
        tries = _TRIES if again else 1
        while True:
            link = self._link or await self._ready()
            try:
                return await link.send(packed, replies)
            except LinkLost as exc:
                tries -= 1
                if not tries:
                    raise self.lost(exc) from exc

    async def stream(self, commands: Iterable[bytes]) -> list[Reply]:
        """Send packed commands, each in a write of its own as it is made; their replies.

        For large ones: together they would be copied once more.

        Raises:
            error: As in :meth:`send`, or Redis refuses one of them.
        """
        link = self._link or await self._ready()
        futures: list[asyncio.Future[list[Reply]]] = []
        for packed in commands:
            future = link.send(packed, 1)
            # When the first fails nobody awaits the others.
            future.add_done_callback(_forget)
            futures.append(future)
        try:
            return [check((await future)[0]) for future in futures]
        except LinkLost as exc:
            raise self.lost(exc) from exc
        except Refused as exc:
            raise self.failure(exc) from exc

    async def begin(self, packed: bytes, replies: int) -> asyncio.Future[list[Reply]]:
        """Like :meth:`send`, but the future is the caller's, to be shielded from cancellation."""
        link = self._link or await self._ready()
        return link.send(packed, replies)

    def remark(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        arguments: Sequence[str | bytes | float],
    ) -> None:
        """Run a script whose reply does not matter, if there is a connection.

        It is sent whole: there is nobody to send it again when Redis does not know it.
        """
        self.mention(pack("EVAL", script.source, len(keys), *keys, *arguments), 1)

    def mention(self, packed: bytes, replies: int) -> None:
        """Send commands whose replies do not matter, if there is a connection."""
        if self._link is not None:
            self._link.send(packed, replies).add_done_callback(_forget)

    async def call(
        self, *commands: Sequence[str | bytes | int | float], again: bool = False
    ) -> list[Reply]:
        """Send commands; their replies.

        Raises:
            error: As in :meth:`send`, or Redis refuses one of them.
        """
        replies = await self.send(join(commands), len(commands), again=again)
        try:
            return [check(reply) for reply in replies]
        except Refused as exc:
            raise self.failure(exc) from exc

    async def run(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        arguments: Sequence[str | bytes | int | float] = (),
        *,
        again: bool = False,
    ) -> Reply:
        """Run a script; its reply.

        Raises:
            error: As in :meth:`send`, or Redis refuses.
        """
        replies = await self.send(self.packed(script, keys, arguments), 1, again=again)
        return await self.settled(replies[0], script, keys, arguments)

    def packed(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        arguments: Sequence[str | bytes | int | float],
    ) -> bytes:
        """The call of a script, for :meth:`send`; its reply goes through :meth:`settled`."""
        return pack("EVALSHA", script.sha, len(keys), *keys, *arguments)

    async def settled(
        self,
        reply: Reply,
        script: Script,
        keys: Sequence[str | bytes],
        arguments: Sequence[str | bytes | int | float],
    ) -> Reply:
        """The reply of a script; sends it whole when Redis has forgotten it (``SCRIPT FLUSH``).

        Raises:
            error: Redis refuses.
        """
        if not isinstance(reply, hiredis.ReplyError):
            return reply
        if str(reply).startswith("NOSCRIPT"):
            whole = pack("EVAL", script.source, len(keys), *keys, *arguments)
            reply = (await self.send(whole, 1))[0]
        try:
            return check(reply)
        except Refused as exc:
            raise self.failure(exc, doing=script.name) from exc

    def lost(self, exc: LinkLost) -> Exception:
        """What callers see when the connection broke under their command."""
        return self._error(self._sentence("lost the connection to", str(exc)))

    def failure(self, exc: BaseException, doing: str = "") -> Exception:
        """What callers see for ``exc``."""
        self.heed(exc)
        what = f"({doing}) " if doing else ""
        return self._error(self._sentence(f"{what}refused by", explain(exc)))

    def heed(self, exc: BaseException) -> None:
        """Leave a server that says that it is the wrong one: after a failover, or a move."""
        if str(exc).startswith(_ELSEWHERE) and self._link is not None:
            self._link.close(explain(exc))

    def _sentence(self, what: str, why: str) -> str:
        return f"{what} Redis at {self._place.safe_url}: {why}"

    async def _ready(self) -> Link:
        """The connection, made first if need be: once, however many ask for it."""
        if self._link is not None:
            return self._link
        if self._closed:
            raise self._error(f"the connection to Redis at {self._place.safe_url} was closed")
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        # Shielded: one caller that gives up does not take the connection from the others.
        return await asyncio.shield(self._connecting)

    def _connected(self, task: asyncio.Task[Link]) -> None:
        if self._connecting is task:
            self._connecting = None
        _forget(task)

    async def _connect(self) -> Link:
        pause = _FIRST_PAUSE
        attempt = 0
        while True:
            try:
                link = self._link = await self._knock()
            except (OSError, LinkLost, NotFound, Refused, _Hopeless) as exc:
                attempt += 1
                if isinstance(exc, _Hopeless) or self._gave_up(attempt):
                    tries = f" ({attempt} attempts)" if attempt > 1 else ""
                    why = self._sentence("cannot connect to", explain(exc)) + tries
                    raise self._error(why) from exc
            else:
                return link
            await self._clock.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads load
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _gave_up(self, attempts: int) -> bool:
        # Each of several servers gets its chance.
        most = self._options.max_retries
        others = len(self._place.servers) - 1 if self._place.kind == "servers" else 0
        return most is not None and attempts > max(most, others)

    async def _knock(self) -> Link:
        """Open a connection and introduce ourselves, within the connect timeout."""
        address = await self._finder.find()
        async with asyncio.timeout(self._options.connect_timeout):
            link = await self._dial(address, self._on_push, self._link_lost)
            greeted = False
            try:
                await self._greet(link, await self._login(address))
                greeted = True
            finally:
                # Also when cancelled: nobody else knows of this connection.
                if not greeted:
                    link.close()
                    await link.wait_closed()
        if link.lost is not None:
            raise LinkLost(link.lost)
        return link

    async def _dial_plainly(self, address: Address) -> Link:
        """A connection to somebody who knows where the server is."""
        return await self._dial(address, lambda _: None, lambda _: None)

    async def _dial(
        self, address: Address, on_push: Callable[[Push], None], on_lost: Callable[[Link], None]
    ) -> Link:
        loop = asyncio.get_running_loop()
        options = self._options

        def make() -> Link:
            return Link(
                on_push=on_push,
                on_lost=on_lost,
                reply_timeout=options.reply_timeout,
                health_interval=options.health_interval,
            )

        if address.path is not None:
            _, link = await loop.create_unix_connection(make, address.path)
            return link
        transport, link = await loop.create_connection(
            make, address.host, address.port, ssl=address.tls
        )
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(options.keepalive))
            for name, value in options.keepalive_options.items():
                raw.setsockopt(socket.IPPROTO_TCP, name, value)
        return link

    async def _login(self, address: Address) -> Address:
        """The address with what opens its door now."""
        provider = self._place.credentials
        if provider is None:
            return address
        given = await asyncio.to_thread(provider.get_credentials)
        username, password = given if len(given) > 1 else (None, given[0])
        return replace(address, username=username, password=password)

    async def _greet(self, link: Link, address: Address) -> None:
        """Log in, pick the database, load the scripts: one round trip."""
        hello: list[str] = ["HELLO", "3"]
        if address.password is not None:
            hello += ["AUTH", address.username or "default", address.password]
        commands: list[Sequence[str | bytes | int | float]] = [hello]
        commands.append(("SELECT", address.db))
        commands += [("SCRIPT", "LOAD", script.source) for script in self._scripts]
        if self._place.kind == "sentinel":
            commands.append(("ROLE",))
        needed = len(commands)
        # Proxies and managed servers may refuse these two; nothing depends on them.
        commands.append(("CLIENT", "SETNAME", self._options.name or "umbel"))
        commands.append(
            ("CLIENT", "TRACKING", *(("ON", "OPTIN") if self._options.tracking else ("OFF",)))
        )
        replies = await link.send(join(commands), len(commands))
        tracks = not isinstance(replies[-1], hiredis.ReplyError)
        self.can_track = self._options.tracking and tracks
        for command, reply in zip(commands[:needed], replies[:needed], strict=True):
            if isinstance(reply, hiredis.ReplyError):
                if str(reply).startswith("ERR unknown command") and command is hello:
                    raise _Hopeless("umbel needs Redis 6.2 or newer, this one does not know HELLO")
                is_odd_database = command[0] == "SELECT" and str(reply).startswith("ERR")
                if str(reply).startswith(_HOPELESS) or is_odd_database:
                    raise _Hopeless(explain(reply))
                raise Refused(str(reply))
            if command[0] == "ROLE" and reply[0] != b"master":
                raise Refused("READONLY The Sentinels have not agreed on another master yet.")

    def _link_lost(self, link: Link) -> None:
        if self._link is link:
            self._link = None
            self._on_lost()


def _forget(future: asyncio.Future[Any]) -> None:
    """Take note of an exception nobody waits for, so that asyncio does not complain."""
    if not future.cancelled():
        future.exception()
