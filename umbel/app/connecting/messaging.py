"""Messages that are no tasks, under kombu's names: ``app.connection()`` and ``Producer``.

What umbel sends and receives itself does not come by here. These are for programs, and for what
they were written with, that reach for a connection: they publish, declare and ask where it leads.

Source:
    kombu reference, ``kombu.Connection``, ``kombu.Producer``: names, arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from umbel.app.connecting import drivers
from umbel.app.current import get_current_app
from umbel.app.sending.ids import new_id
from umbel.app.sending.producer import PublishPolicy
from umbel.exceptions import OperationalError
from umbel.model import Message
from umbel.routing.queues import as_exchange, as_queue
from umbel.serialization import json, registry
from umbel.serialization.compression import compress

if TYPE_CHECKING:
    from collections.abc import Generator

    from umbel.app.base import Umbel

__all__ = ["Channel", "Connection", "Producer", "Transport", "producer_or_acquire"]

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
    """The way to a broker. The connection itself is the app's, and opened when it is used."""

    connection_errors: tuple[type[Exception], ...] = (OperationalError, OSError)
    recoverable_connection_errors = connection_errors
    channel_errors: tuple[type[Exception], ...] = (OperationalError,)
    recoverable_channel_errors = channel_errors

    def __init__(self, hostname: str | None = None, *, app: Umbel | None = None, **_: Any) -> None:
        """A way to the broker of ``app``, the current app by default.

        Args:
            hostname: The URL of another broker.
        """
        app = app or get_current_app()
        url = hostname or app.broker_url
        if url != app.broker_url:
            app = type(app)(app.main, broker=url, set_as_current=False)
        self.app = app
        self._url = url

    def __repr__(self) -> str:
        return f"<Connection: {self.as_uri()}>"

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

    def as_uri(self, include_password: bool = False) -> str:
        """Its URL."""
        return self._url if include_password else drivers.safe_url(self._url)

    def channel(self) -> Channel:
        """What producers are made with."""
        return Channel(self)

    @property
    def default_channel(self) -> Channel:
        """What producers are made with."""
        return Channel(self)

    def Producer(self, channel: Any = None, **options: Any) -> Producer:  # noqa: N802 - kombu's name
        """What publishes."""
        return Producer(channel or self, **options)

    def ensure_connection(self, **_: Any) -> Self:
        """See that the broker can be reached.

        Raises:
            OperationalError: It cannot.
        """
        self.app.portal.call(self.app.connections.broker)
        return self

    connect = ensure_connection

    def clone(self, **_: Any) -> Connection:
        """The same way once more."""
        return Connection(self._url, app=self.app)

    def release(self) -> None:
        """Nothing to give back: the connection is the app's."""

    close = release

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Channel:
    """What producers are made with."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Producer:
    """Publishes messages of any content.

    Args:
        channel: A connection, or a channel of one.
    """

    def __init__(
        self,
        channel: Any,
        exchange: Any = None,
        routing_key: str = "",
        serializer: str | None = None,
        compression: str | None = None,
        **_: Any,
    ) -> None:
        self.connection: Connection = (
            channel if isinstance(channel, Connection) else channel.connection
        )
        self.channel = self.connection.default_channel
        self.exchange = exchange
        self.routing_key = routing_key
        self.serializer = serializer or "json"
        self.compression = compression

    def publish(
        self,
        body: Any,
        routing_key: str | None = None,
        delivery_mode: int | str | None = None,
        mandatory: bool = False,
        immediate: bool = False,
        priority: int | None = 0,
        content_type: str | None = None,
        content_encoding: str | None = None,
        serializer: str | None = None,
        headers: Mapping[str, Any] | None = None,
        compression: str | None = None,
        exchange: Any = None,
        retry: bool = False,
        retry_policy: Mapping[str, Any] | None = None,
        declare: Sequence[Any] = (),
        expiration: float | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        **properties: Any,
    ) -> None:
        """Publish one message; returns when the broker has it.

        Args:
            body: What the serializer can write; bytes or text, with a ``content_type``, as is.
            declare: Queues that are to exist.
            expiration: Seconds after which nobody needs it any more.

        Raises:
            EncodeError: The body cannot be serialized.
            OperationalError: The broker cannot be reached.
        """
        app = self.connection.app
        sent = as_exchange(self.exchange if exchange is None else exchange)
        content = _encode(body, serializer or self.serializer, content_type, content_encoding)
        fields: dict[str, Any] = dict(headers or {})
        data, packed = content[2], compression or self.compression
        if packed is not None:
            data, fields["compression"] = compress(data, packed)
        mode = {"transient": 1, "persistent": 2}.get(str(delivery_mode), delivery_mode)
        if mode is not None:
            properties["delivery_mode"] = mode
        message = Message(
            id=str(fields.get("id") or new_id()),
            body=data,
            content_type=content[0],
            content_encoding=content[1],
            headers=json.dumps(fields),
            correlation_id=correlation_id,
            reply_to=reply_to,
            properties=properties,
            exchange="" if sent is None else sent.name,
            routing_key=self.routing_key if routing_key is None else routing_key,
            priority=priority or None,
            expires_at=None if expiration is None else app.wall_clock.time() + expiration,
        )
        policy = PublishPolicy.of(retry, retry_policy)
        app.portal.call(_publish, app, message, declare, policy)

    def release(self) -> None:
        """Nothing to give back."""

    close = release

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


async def _publish(
    app: Umbel, message: Message, declare: Iterable[Any], policy: PublishPolicy
) -> None:
    queues = [as_queue(each) for each in declare if hasattr(each, "exchange")]
    if queues:
        await (await app.connections.broker()).declare(queues)
    await app.producer.publish([message], policy)


def _encode(
    body: Any, serializer: str, content_type: str | None, content_encoding: str | None
) -> tuple[str, str, bytes]:
    if content_type is not None or isinstance(body, bytes):
        data = body.encode(content_encoding or "utf-8") if isinstance(body, str) else body
        kind = content_type or "application/data"
        return kind, content_encoding or ("utf-8" if isinstance(body, str) else "binary"), data
    if isinstance(body, str):
        return "text/plain", "utf-8", body.encode()
    found = registry.serializer(serializer)
    return found.content_type, found.content_encoding, found.dumps(body)


@contextmanager
def producer_or_acquire(app: Umbel, producer: Producer | None) -> Generator[Producer]:
    """``producer``, else one of the app's."""
    yield producer or Producer(Connection(app=app))
