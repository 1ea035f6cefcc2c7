"""``kombu.Producer``: publishes messages of any content.

Source:
    kombu reference, ``kombu.Producer``: names, arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from umbel.app.sending.ids import new_id
from umbel.app.sending.producer import NO_RETRY, PublishPolicy
from umbel.model import Message
from umbel.routing.queues import as_exchange, as_queue
from umbel.serialization import json, registry
from umbel.serialization.compression import compress

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.app.connecting.channels import Channel
    from umbel.app.connecting.messaging import Connection

__all__ = ["OWN_PUBLISH", "Producer", "passed"]


class Producer:
    """Publishes messages of any content."""

    def __init__(
        self,
        channel: Any,
        exchange: Any = None,
        routing_key: str | None = None,
        serializer: str | None = None,
        auto_declare: bool | None = None,
        compression: str | None = None,
        on_return: Any = None,
    ) -> None:
        """Be ready to publish.

        Args:
            channel: A connection, or a channel of one.
            exchange: Where messages go that name no other.
            auto_declare: Accepted; exchanges exist where queues are bound to them.
            on_return: Accepted; a message that no queue wants is refused with an error.
        """
        self.revive(channel)
        self.exchange = exchange
        self.routing_key = routing_key or ""
        self.serializer = serializer
        self.compression = compression
        self.auto_declare = auto_declare is not False
        self.on_return = on_return

    def revive(self, channel: Any) -> None:
        """Use another channel, or connection."""
        self.channel: Channel = getattr(channel, "default_channel", channel)
        self.connection: Connection = self.channel.connection

    def declare(self) -> None:
        """Make its exchange exist."""
        exchange = as_exchange(self.exchange)
        if exchange is not None:
            self.channel.bound_exchange(exchange).declare()

    def maybe_declare(self, entity: Any, retry: bool = False, **_: Any) -> None:
        """Make a queue or an exchange exist."""
        if hasattr(entity, "exchange"):
            self.channel.declare(as_queue(entity))
        elif (exchange := as_exchange(entity)) is not None:
            self.channel.bound_exchange(exchange).declare()

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
        declare: Sequence[Any] | None = None,
        expiration: float | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
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
        self.deliver(message, declare or (), policy)

    def deliver(self, message: Message, declare: Sequence[Any], policy: PublishPolicy) -> None:
        """Publish what :meth:`publish` has made."""
        app = self.connection.app
        app.portal.call(_publish, app, message, declare, policy)

    def release(self) -> None:
        """Nothing to give back."""

    close = release

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


_DECIDED = "expiration"
"""The property of a task's message that is milliseconds by now; ``publish`` takes seconds."""

OWN_PUBLISH = Producer.publish
"""What is there unless somebody who watches what is sent has put something around it."""


class _Carrier(Producer):
    """Has a task's message pass through what is around ``publish``, and keeps what comes out."""

    carried: Message | None = None

    def deliver(self, message: Message, declare: Sequence[Any], policy: PublishPolicy) -> None:
        """It is sent with others, later."""
        self.carried = message


def passed(app: Umbel, messages: Sequence[Message], policy: PublishPolicy) -> list[Message]:
    """The messages of tasks, with the headers and properties that those leave who have put
    something around ``Producer.publish``. They are published after that.

    Raises:
        RuntimeError: Somebody has not called what was there.
    """
    channel = app.connection().default_channel
    return [_passed(_Carrier(channel), message, policy) for message in messages]


def _passed(carrier: _Carrier, message: Message, policy: PublishPolicy) -> Message:
    headers: dict[str, Any] = msgspec.json.decode(message.headers)
    properties: dict[str, Any] = dict(message.properties)
    decided = {_DECIDED: properties.pop(_DECIDED)} if _DECIDED in properties else {}
    carrier.publish(
        message.body,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        exchange=message.exchange,
        routing_key=message.routing_key,
        headers=headers,
        priority=message.priority,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        retry=policy != NO_RETRY,
        **properties,
    )
    left = carrier.carried
    if left is None:
        raise RuntimeError(
            f"what has replaced kombu.Producer.publish has not sent task {headers.get('task')}"
        )
    return msgspec.structs.replace(
        message,
        headers=left.headers,
        properties={**decided, **left.properties},
        correlation_id=left.correlation_id,
        reply_to=left.reply_to,
    )


async def _publish(
    app: Umbel, message: Message, declare: Iterable[Any], policy: PublishPolicy
) -> None:
    queues = [as_queue(each) for each in declare if hasattr(each, "exchange")]
    if queues:
        await (await app.connections.broker()).declare(queues)
    await app.producer.publish([message], policy)


def _encode(
    body: Any, serializer: str | None, content_type: str | None, content_encoding: str | None
) -> tuple[str, str, bytes]:
    """Content type, encoding and content. Bytes and text stay as they are where nothing is said.

    Source:
        kombu reference, ``kombu.serialization.dumps``.
    """
    if content_type is not None or (serializer is None and isinstance(body, bytes)):
        data = body.encode(content_encoding or "utf-8") if isinstance(body, str) else body
        kind = content_type or "application/data"
        return kind, content_encoding or ("utf-8" if isinstance(body, str) else "binary"), data
    if serializer is None and isinstance(body, str):
        return "text/plain", "utf-8", body.encode()
    found = registry.serializer(serializer or "json")
    return found.content_type, found.content_encoding, found.dumps(body)
