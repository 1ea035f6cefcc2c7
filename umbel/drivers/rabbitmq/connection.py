"""A connection to RabbitMQ that is made when needed, and found again when it is lost."""

from __future__ import annotations

import asyncio
import platform
import random
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice

import msgspec
from pamqp import commands
from pamqp.base import Frame

from umbel.drivers.rabbitmq.address import Address
from umbel.drivers.rabbitmq.channel import LinkLost
from umbel.drivers.rabbitmq.link import Link
from umbel.protocols import Clock, Lifeline

__all__ = ["Client", "ClientOptions", "explain", "options_of"]

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_ACCESS_REFUSED, _NOT_ALLOWED = 403, 530
_HOPELESS_CODES = {_ACCESS_REFUSED, _NOT_ALLOWED}
_CAPABILITIES = {
    "publisher_confirms": True,
    "exchange_exchange_bindings": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
}


class _Hopeless(Exception):
    """What trying again does not change: a wrong password, an unknown virtual host."""


class ClientOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a client is, and how it introduces itself."""

    connect_timeout: float = 4.0
    max_retries: int | None = 3
    """Further rounds of attempts after the first, before a call fails; None: for ever."""
    heartbeat: float = 8.0
    """Seconds between two signs of life; a connection without any for two of them is dropped,
    by RabbitMQ for up to three: so it has what a frozen client held within half a minute."""
    answer_timeout: float = 20.0
    """Seconds that RabbitMQ may leave a question unanswered, before the connection is given up."""
    login_method: str = "PLAIN"
    """``PLAIN`` or ``EXTERNAL`` (the certificate says who we are)."""
    name: str = "umbel"
    """As ``list_connections`` shows it."""


def options_of(
    options: Mapping[str, object], *, connect_timeout: float, max_retries: int | None, name: str
) -> ClientOptions:
    """What transport options ask for."""
    heartbeat = options.get("heartbeat")
    return ClientOptions(
        connect_timeout=float(str(options.get("connect_timeout") or connect_timeout)),
        max_retries=max_retries,
        answer_timeout=float(str(options.get("answer_timeout") or ClientOptions().answer_timeout)),
        heartbeat=ClientOptions().heartbeat if heartbeat is None else float(str(heartbeat)),
        login_method=str(options.get("login_method") or "PLAIN").upper(),
        name=str(options.get("client_name") or name),
    )


def explain(exc: BaseException) -> str:
    """The likely cause of a failure, in a few words.

    >>> explain(ConnectionRefusedError(111, "Connect call failed"))
    'connection refused: is RabbitMQ running there?'
    """
    if isinstance(exc, TimeoutError):
        return "no answer in time: is the address right, is a firewall in between?"
    if isinstance(exc, socket.gaierror):
        return "the host name is not known"
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused: is RabbitMQ running there?"
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {exc.verify_message}"
    return str(exc) or type(exc).__name__


class Client:
    """One connection, for as many callers as like, on one event loop.

    Args:
        addresses: Tried beginning with the one that worked last.
        order: Which one is tried next; None: one after the other.
        error: What callers see when RabbitMQ is out of reach.
        blocked_error: What they see when it takes no messages; None: the same.
        on_lost: Called when a connection is gone.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        clock: Clock,
        options: ClientOptions,
        error: type[Exception],
        blocked_error: type[Exception] | None = None,
        on_lost: Callable[[], None] = lambda: None,
        order: Iterator[int] | None = None,
    ) -> None:
        self._addresses = addresses
        self._order = order or islice(cycle(range(len(addresses))), 1, None)
        self._at = 0
        self._clock = clock
        self._options = options
        self._error = error
        self._blocked_error = blocked_error or error
        self._on_lost = on_lost
        self._link: Link | None = None
        self._connecting: asyncio.Task[Link] | None = None
        self._closed = False
        self._unblocked: asyncio.Future[None] | None = None
        self.blocked: str | None = None
        """Why RabbitMQ takes no messages at the moment; None when it does."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as one can know."""
        return self._link is not None

    @property
    def lifeline(self) -> Lifeline | None:
        """See :class:`~umbel.protocols.HangsByALine`."""
        return None if self._link is None else self._link.lifeline

    @property
    def name(self) -> str:
        """As ``list_connections`` shows it."""
        return self._options.name

    def permit(self) -> None:
        """Let the next call connect, after :meth:`close`."""
        self._closed = False

    async def close(self) -> None:
        """Disconnect; calls under way fail, and so do later ones until :meth:`permit`."""
        self._closed = True
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            await asyncio.wait([connecting])
        link, self._link = self._link, None
        if link is not None:
            try:
                async with asyncio.timeout(self._options.connect_timeout):
                    await link.leave()
            except TimeoutError:
                # It hangs; what it holds for us it gives back when it notices.
                pass
            finally:
                link.close()
            await link.wait_closed()

    async def link(self) -> Link:
        """The connection, made first if need be: once, however many ask for it.

        Raises:
            error: None of the addresses could be connected to.
        """
        if self._link is not None:
            return self._link
        if self._closed:
            raise self._error(f"the connection to RabbitMQ at {self._where()} was closed")
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        # Shielded: one caller that gives up does not take the connection from the others.
        return await asyncio.shield(self._connecting)

    async def unblocked(self, timeout: float) -> None:
        """Wait until RabbitMQ takes messages.

        Raises:
            blocked_error: It does not in time.
        """
        if self.blocked is None:
            return
        if self._unblocked is None:
            self._unblocked = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._unblocked)
        except TimeoutError as exc:
            raise self.blockade(timeout) from exc

    def lost(self, exc: BaseException) -> Exception:
        """What callers see when the connection, or their channel, broke under their call."""
        return self._error(f"lost the connection to RabbitMQ at {self._where()}: {exc}")

    def blockade(self, seconds: float) -> Exception:
        """What callers see when it has taken no messages for so long."""
        return self._blocked_error(
            f"RabbitMQ at {self._where()} has taken no messages for {seconds:g} s: "
            f"{self.blocked}. It takes them again when it has enough memory and disk space; "
            "`rabbitmq-diagnostics alarms` says what it lacks."
        )

    def failure(self, why: str) -> Exception:
        """What callers see for something that RabbitMQ does not do."""
        return self._error(f"RabbitMQ at {self._where()} {why}")

    def _where(self) -> str:
        return self._addresses[self._at].safe_url

    def _connected(self, task: asyncio.Task[Link]) -> None:
        if self._connecting is task:
            self._connecting = None
        if not task.cancelled():
            task.exception()

    async def _connect(self) -> Link:
        pause = _FIRST_PAUSE
        attempt = 0
        while True:
            failures: list[tuple[str, Exception]] = []
            for _ in self._addresses:
                try:
                    link = self._link = await self._knock(self._addresses[self._at])
                except (OSError, LinkLost, _Hopeless) as exc:
                    failures.append((self._where(), exc))
                    self._at = next(self._order)
                else:
                    return link
            attempt += 1
            hopeless = all(isinstance(exc, _Hopeless) for _, exc in failures)
            most = self._options.max_retries
            if hopeless or (most is not None and attempt > most):
                tries = f" ({attempt} attempts)" if attempt > 1 else ""
                whys = "; ".join(f"{where}: {explain(exc)}" for where, exc in failures)
                message = f"cannot connect to RabbitMQ at {whys}{tries}"
                raise self._error(message) from failures[-1][1]
            await self._clock.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads load
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _knock(self, address: Address) -> Link:
        """Open a connection and introduce ourselves, within the connect timeout."""
        async with asyncio.timeout(self._options.connect_timeout):
            link = await self._dial(address)
            greeted = False
            try:
                await self._greet(link, address)
                greeted = True
            finally:
                # Also when cancelled: nobody else knows of this connection.
                if not greeted:
                    link.close()
                    await link.wait_closed()
        if link.lost is not None:
            raise LinkLost(link.lost)
        return link

    async def _dial(self, address: Address) -> Link:
        def make() -> Link:
            return Link(
                patience=self._options.answer_timeout,
                on_lost=self._link_lost,
                on_blocked=self._set_blocked,
            )

        transport, link = await asyncio.get_running_loop().create_connection(
            make, address.host, address.port, ssl=address.tls
        )
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return link

    async def _greet(self, link: Link, address: Address) -> None:
        """Log in, agree on sizes and signs of life, enter the virtual host."""
        link.write(_PROTOCOL_HEADER)
        await self._expect(link, commands.Connection.Start)
        external = self._options.login_method == "EXTERNAL"
        link.say(
            commands.Connection.StartOk(
                client_properties={
                    "product": "umbel",
                    "platform": f"Python {platform.python_version()}",
                    "connection_name": self._options.name,
                    "capabilities": dict(_CAPABILITIES),
                },
                mechanism="EXTERNAL" if external else "PLAIN",
                response="" if external else f"\0{address.username}\0{address.password}",
                locale="en_US",
            )
        )
        tune = await self._expect(link, commands.Connection.Tune)
        assert isinstance(tune, commands.Connection.Tune)
        beat, theirs = round(self._options.heartbeat), tune.heartbeat
        interval = min(beat, theirs) if beat and theirs else beat
        link.say(commands.Connection.TuneOk(tune.channel_max, tune.frame_max, interval))
        link.tuned(tune.frame_max, interval)
        link.say(commands.Connection.Open(address.vhost))
        await self._expect(link, commands.Connection.OpenOk)

    async def _expect(self, link: Link, kind: type[Frame]) -> Frame:
        try:
            method = await link.control()
        except LinkLost as exc:
            if link.code in _HOPELESS_CODES:
                raise _Hopeless(str(exc)) from exc
            raise
        if not isinstance(method, kind):
            raise LinkLost(f"RabbitMQ says {method.name} where {kind.name} was expected")
        return method

    def _link_lost(self, link: Link) -> None:
        if self._link is link:
            self._link = None
            self._set_blocked(None)
            self._on_lost()

    def _set_blocked(self, reason: str | None) -> None:
        self.blocked = reason
        if reason is None and self._unblocked is not None:
            unblocked, self._unblocked = self._unblocked, None
            unblocked.set_result(None)
