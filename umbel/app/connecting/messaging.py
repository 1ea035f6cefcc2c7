"""Messages that are no tasks, under kombu's names: ``app.connection()`` and what it leads to.

What umbel sends and receives itself does not come by here. These are for programs, and for what
they were written with, that reach for a connection: they publish, declare, consume, and ask where
it leads.

Source:
    kombu reference, ``kombu.Connection``: names, arguments.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, unquote, urlsplit

from umbel.app.connecting import drivers, received
from umbel.app.connecting.channels import Channel
from umbel.app.connecting.publishing import Producer
from umbel.app.connecting.urls import safe_url
from umbel.app.current import get_current_app
from umbel.exceptions import OperationalError

if TYPE_CHECKING:
    from collections.abc import Generator

    from umbel.app.base import Umbel
    from umbel.app.connecting.reader import Reader
    from umbel.app.connecting.simple import SimpleBuffer, SimpleQueue

__all__ = ["Channel", "Connection", "Producer", "Transport", "producer_or_acquire"]

T = TypeVar("T")

_KIND_BY_DRIVER = {"rabbitmq": "amqp", "sqlite": "sql"}
"""What kombu calls a kind of transport, where it is not the driver's name."""


class Transport:
    """Which kind of broker it is."""

    def __init__(self, url: str) -> None:
        driver = drivers.driver_of(url)
        self.driver_name = driver
        self.driver_type = _KIND_BY_DRIVER.get(driver, driver)
        """``"amqp"``, ``"redis"``, ``"sql"`` or ``"memory"``."""


class Connection:
    """The way to a broker. What publishes is the app's connection, opened when it is used; what
    consumes has a connection and a thread of its own, until this one is released."""

    connection_errors: tuple[type[Exception], ...] = (OperationalError, OSError)
    recoverable_connection_errors = connection_errors
    channel_errors: tuple[type[Exception], ...] = (OperationalError,)
    recoverable_channel_errors = channel_errors
    supports_heartbeats = False
    is_evented = False

    def __init__(
        self,
        hostname: str | None = None,
        userid: str | None = None,
        password: str | None = None,
        virtual_host: str | None = None,
        port: int | None = None,
        insist: bool = False,
        ssl: Any = False,
        transport: str | None = None,
        connect_timeout: float | None = None,
        transport_options: Mapping[str, Any] | None = None,
        login_method: str | None = None,
        uri_prefix: str | None = None,
        heartbeat: float = 0,
        failover_strategy: str | None = None,
        alternates: Sequence[str] | None = None,
        *,
        app: Umbel | None = None,
        **_: Any,
    ) -> None:
        """A way to the broker of ``app``, the current app by default.

        Args:
            hostname: The URL of another broker; or its host, with ``transport``, ``userid``,
                ``password``, ``port`` and ``virtual_host``.
            ssl: ``broker_use_ssl``; the other arguments are settings of the same kind.
        """
        app = app or get_current_app()
        given = (transport, userid, password, port, virtual_host)
        url = hostname or app.broker_url
        if "://" not in url or any(part is not None for part in given):
            url = _address(url, *given)
        if alternates:
            url = ";".join([url, *alternates])
        settings = {
            "broker_use_ssl": ssl or None,
            "broker_connection_timeout": connect_timeout,
            "broker_transport_options": transport_options or None,
            "broker_login_method": login_method,
            "broker_heartbeat": heartbeat or None,
            "broker_failover_strategy": failover_strategy,
        }
        said = {name: value for name, value in settings.items() if value is not None}
        if url != app.broker_url or said:
            app = type(app)(app.main, broker=url, set_as_current=False, changes=said)
        self.app = app
        self._url = url
        self._reader: Reader | None = None
        self._channel: Channel | None = None

    def __repr__(self) -> str:
        return f"<Connection: {self.as_uri()}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Connection) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    # -- where it leads

    @property
    def transport(self) -> Transport:
        """Which kind of broker it is."""
        return Transport(self._url)

    @property
    def transport_cls(self) -> str:
        """The scheme of its URL."""
        return self._url.partition("://")[0]

    @property
    def hostname(self) -> str | None:
        """Where the broker is; None: it has no host."""
        return urlsplit(self._url).hostname

    host = hostname

    @property
    def port(self) -> int | None:
        """The port, if the URL says one."""
        return urlsplit(self._url).port

    @property
    def userid(self) -> str | None:
        """Who connects, if the URL says."""
        return unquote(urlsplit(self._url).username or "") or None

    @property
    def password(self) -> str | None:
        """The password, if the URL says one."""
        return unquote(urlsplit(self._url).password or "") or None

    @property
    def virtual_host(self) -> str:
        """The path of its URL: RabbitMQ's virtual host, Redis' database."""
        return unquote(urlsplit(self._url).path[1:]) or "/"

    @property
    def transport_options(self) -> dict[str, Any]:
        """``broker_transport_options``."""
        return dict(self.app.conf.broker_transport_options or {})

    @property
    def connected(self) -> bool:
        """Whether something has been done over it."""
        return self.app.portal.opened or self._reader is not None

    def info(self) -> dict[str, Any]:
        """Where it leads, for people; without the password."""
        return {
            "hostname": self.hostname,
            "userid": self.userid,
            "virtual_host": self.virtual_host,
            "port": self.port,
            "transport": self.transport_cls,
            "transport_options": self.transport_options,
        }

    def as_uri(
        self, include_password: bool = False, mask: str = "**", getfields: Any = None
    ) -> str:
        """Its URL."""
        return self._url if include_password else safe_url(self._url)

    # -- what is made with it

    def channel(self) -> Channel:
        """A new way to its queues."""
        return Channel(self)

    @property
    def default_channel(self) -> Channel:
        """The way to its queues of those who make none."""
        if self._channel is None:
            self._channel = self.channel()
        return self._channel

    def Producer(  # noqa: N802 - kombu's name
        self, channel: Any = None, *args: Any, **options: Any
    ) -> Producer:
        """What publishes."""
        return Producer(channel or self, *args, **options)

    def Consumer(  # noqa: N802 - kombu's name
        self, queues: Any = None, channel: Any = None, *args: Any, **options: Any
    ) -> received.Consumer:
        """What receives."""
        return received.Consumer(channel or self, queues, *args, **options)

    def SimpleQueue(  # noqa: N802 - kombu's name
        self, name: Any, no_ack: bool | None = None, **options: Any
    ) -> SimpleQueue:
        """A queue with ``put`` and ``get``."""
        # Few programs ask for it.
        from umbel.app.connecting.simple import SimpleQueue

        return SimpleQueue(self, name, no_ack, **options)

    def SimpleBuffer(  # noqa: N802 - kombu's name
        self, name: Any, no_ack: bool | None = None, **options: Any
    ) -> SimpleBuffer:
        """One whose messages are not kept by the broker, nor acknowledged."""
        # As above.
        from umbel.app.connecting.simple import SimpleBuffer

        return SimpleBuffer(self, name, no_ack, **options)

    @property
    def reader(self) -> Reader:
        """What receives for its consumers; starts it."""
        if self._reader is None:
            # Few programs consume; it needs asyncio, which costs every producer its import.
            from umbel.app.connecting.reader import Reader

            self._reader = Reader(self.app)
        return self._reader

    def dismiss(self, consumer: received.Consumer) -> None:
        """Receive no more for a consumer, if that was done."""
        if self._reader is not None:
            self._reader.dismiss(consumer)

    def drain_events(self, timeout: float | None = None, **_: Any) -> None:
        """Wait for a message for one of its consumers, and have that see to it, here.

        Args:
            timeout: Seconds; None: without end.

        Raises:
            TimeoutError: There was none in time (it is ``socket.timeout`` too).
            OperationalError: The broker cannot be reached any more.
        """
        self.reader.hand_over(timeout)

    def ask(self, question: Callable[[Any], Awaitable[T]]) -> T:
        """Ask RabbitMQ something that brokers have no word for, on a connection for that."""

        async def work() -> T:
            console = self.app.make_console()
            await console.open()
            try:
                return await question(console)
            finally:
                await console.close()

        return self.app.portal.call(work)

    # -- its life

    def ensure_connection(
        self,
        errback: Callable[[Exception, float], object] | None = None,
        max_retries: int | None = None,
        interval_start: float = 2,
        interval_step: float = 2,
        interval_max: float = 30,
        callback: Callable[[], object] | None = None,
        reraise_as_library_errors: bool = True,
        timeout: float | None = None,
    ) -> Self:
        """See that the broker can be reached; wait until it can.

        Args:
            errback: Called with the error and the seconds until it is tried again.
            max_retries: How often, after the first time; 0 and None: without end.
            timeout: Seconds after which it is not tried again.

        Raises:
            OperationalError: It cannot be reached.
        """
        wait = partial(_wait_for, self, errback, max_retries, callback, timeout)
        self.app.portal.call(wait, (interval_start, interval_step, interval_max))
        return self

    def connect(self) -> Self:
        """See that the broker can be reached; see :meth:`ensure_connection`, once.

        Raises:
            OperationalError: It cannot be reached.
        """
        self.app.portal.call(_reach, self.app)
        return self

    def ensure(
        self,
        obj: Any,
        fun: Callable[..., T],
        errback: Callable[[Exception, float], object] | None = None,
        max_retries: int | None = None,
        interval_start: float = 1,
        interval_step: float = 1,
        interval_max: float = 1,
        **_: Any,
    ) -> Callable[..., T]:
        """``fun``, called again when the connection is lost meanwhile."""

        def insist(*args: Any, **kwargs: Any) -> T:
            attempts = 0
            while True:
                try:
                    return fun(*args, **kwargs)
                except self.recoverable_connection_errors:
                    attempts += 1
                    if max_retries is not None and attempts > max_retries:
                        raise
                    self.ensure_connection(
                        errback, max_retries, interval_start, interval_step, interval_max
                    )

        return insist

    def clone(self, **changes: Any) -> Connection:
        """The same way once more."""
        return Connection(self._url, app=self.app, **changes)

    def heartbeat_check(self, rate: int = 2) -> None:
        """Nothing to check: connections look after themselves."""

    def revive(self, new_channel: Any) -> None:
        """Nothing to revive: connections come back by themselves."""

    def release(self) -> None:
        """Receive no more; what was received and not settled goes back."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    close = release

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


async def _reach(app: Umbel) -> None:
    queues = [app.router.default_queue().name]
    await (await app.connections.broker()).stats(queues)


async def _wait_for(
    connection: Connection,
    errback: Callable[[Exception, float], object] | None,
    max_retries: int | None,
    callback: Callable[[], object] | None,
    timeout: float | None,
    intervals: tuple[float, float, float],
) -> None:
    app = connection.app
    clock, (pause, step, longest) = app.wall_clock, intervals
    began, attempts = clock.monotonic(), 0
    while True:
        try:
            await _reach(app)
        except OperationalError as error:
            attempts += 1
            late = timeout is not None and clock.monotonic() - began + pause > timeout
            if late or (max_retries and attempts > max_retries):
                raise
            if errback is not None:
                errback(error, pause)
            if callback is not None:
                callback()
            await clock.sleep(pause)
            pause = min(pause + step, longest)
        else:
            return


def _address(
    host: str,
    transport: str | None,
    userid: str | None,
    password: str | None,
    port: int | None,
    virtual_host: str | None,
) -> str:
    """The URL that the parts of one say, where it does not say so itself.

    >>> _address("rabbit", None, "guest", "s", 5672, "/")
    'amqp://guest:s@rabbit:5672/%2F'
    """
    found = urlsplit(host if "://" in host else f"{transport or 'amqp'}://{host}")
    user = userid or found.username
    word = password or found.password
    who = "" if user is None else quote(user, safe="")
    if word is not None:
        who += f":{quote(word, safe='')}"
    number = port or found.port
    where = f"{who}@" * bool(who) + (found.hostname or "") + (f":{number}" if number else "")
    path = found.path if virtual_host is None else f"/{quote(virtual_host, safe='')}"
    query = f"?{found.query}" if found.query else ""
    return f"{found.scheme}://{where}{path}{query}"


@contextmanager
def producer_or_acquire(app: Umbel, producer: Producer | None) -> Generator[Producer]:
    """``producer``, else one of the app's."""
    yield producer or Producer(Connection(app=app))
