"""Remote control commands and their replies, as kombu's ``pidbox`` writes them.

Source:
    Exchanges, queues, bodies and headers as observed with Celery 5.7 and kombu 5.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from umbel.exceptions import DecodeError
from umbel.model import Exchange, Message, Queue
from umbel.serialization import json
from umbel.serialization import registry as serializers
from umbel.serialization.shapes import is_dict, is_list

__all__ = [
    "Command",
    "Mailbox",
    "Reply",
    "ReplyTo",
    "decode_command",
    "decode_reply",
    "encode_command",
    "encode_reply",
    "is_for",
]

_TRANSIENT = {"delivery_mode": 1}


class Mailbox(msgspec.Struct, frozen=True, kw_only=True):
    """The names of exchanges and queues, and what the queues are like."""

    namespace: str = "celery"
    queue_ttl: float | None = 300.0
    """Seconds."""
    queue_expires: float | None = 10.0
    """Seconds."""
    exclusive: bool = True
    durable: bool = False

    @property
    def exchange(self) -> Exchange:
        """Where commands are sent to: every node hears all of them."""
        return Exchange(f"{self.namespace}.pidbox", "fanout", durable=False)

    @property
    def reply_exchange(self) -> Exchange:
        """Where replies are sent to."""
        return reply_exchange(f"reply.{self.namespace}.pidbox")

    def queue(self, node: str) -> Queue:
        """Where a node hears commands."""
        return self._queue(f"{node}.{self.namespace}.pidbox", self.exchange, "")

    def reply_queue(self, oid: str) -> Queue:
        """Where the one who asks waits for replies.

        Args:
            oid: Its address; unique.
        """
        exchange = self.reply_exchange
        return self._queue(f"{oid}.{exchange.name}", exchange, oid)

    def _queue(self, name: str, exchange: Exchange, key: str) -> Queue:
        return Queue(
            name,
            exchange=exchange,
            routing_key=key,
            durable=self.durable,
            exclusive=self.exclusive,
            auto_delete=not self.durable,
            expires=self.queue_expires,
            message_ttl=self.queue_ttl,
        )


def reply_exchange(name: str) -> Exchange:
    """The exchange that a command names for its replies."""
    return Exchange(name, "direct", durable=False)


class ReplyTo(msgspec.Struct, frozen=True):
    """Where a reply is sent to."""

    exchange: str
    routing_key: str


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of nodes."""

    method: str
    arguments: Mapping[str, Any] = {}
    destination: Sequence[str] | None = None
    """The nodes it is for; None: all of them."""
    pattern: str | None = None
    """Which nodes it is for, unless there is a destination."""
    matcher: str | None = None
    """How ``pattern`` is meant: ``glob`` or ``pcre``."""
    ticket: str | None = None
    """What the replies repeat."""
    reply_to: ReplyTo | None = None
    """None: nobody waits for a reply."""


class Reply(msgspec.Struct, frozen=True):
    """What nodes answer."""

    value_by_node: dict[str, Any]
    ticket: str | None


def encode_command(
    command: Command, *, mailbox: Mailbox, serializer: str, clock: int, expires: float
) -> Message:
    """The message of a command.

    Args:
        expires: Unix seconds when nobody waits for replies any more; 0: never.

    Raises:
        EncodeError: An argument cannot be serialized.
    """
    body: dict[str, Any] = {
        "method": command.method,
        "arguments": command.arguments,
        "destination": command.destination,
        "pattern": command.pattern,
        "matcher": command.matcher,
    }
    if command.reply_to is not None:
        body["ticket"] = command.ticket
        body["reply_to"] = {
            "exchange": command.reply_to.exchange,
            "routing_key": command.reply_to.routing_key,
        }
    return _message(
        body,
        serializer,
        headers={"clock": clock, "expires": expires},
        exchange=mailbox.exchange.name,
    )


def encode_reply(
    node: str, value: Any, *, to: ReplyTo, ticket: str | None, serializer: str, clock: int
) -> Message:
    """The message of a node's reply.

    Raises:
        EncodeError: The value cannot be serialized.
    """
    return _message(
        {node: value},
        serializer,
        headers={"ticket": ticket, "clock": clock},
        exchange=to.exchange,
        routing_key=to.routing_key,
        properties=_TRANSIENT,
    )


def decode_command(message: Message, *, accept: frozenset[str]) -> tuple[Command, int]:
    """The command in a message, and the sender's logical clock.

    Raises:
        ContentDisallowed: Its content type is not accepted.
        DecodeError: It is no command; says why, in one sentence.
    """
    body, headers = _read(message, accept)
    method = body.get("method")
    if not isinstance(method, str):
        raise DecodeError(f"the command is named {method!r:.80}, which is no text.")
    arguments: Any = body.get("arguments") or {}
    if not is_dict(arguments):
        raise DecodeError(f"the arguments are {arguments!r:.80}, not a mapping.")
    destination = body.get("destination")
    if destination is not None and not is_list(destination):
        raise DecodeError(f"the destination is {destination!r:.80}, not a list of nodes.")
    ticket = body.get("ticket")
    command = Command(
        method=method,
        arguments=arguments,
        destination=destination or None,
        pattern=_text(body, "pattern"),
        matcher=_text(body, "matcher"),
        ticket=ticket if isinstance(ticket, str) else None,
        reply_to=_reply_to(body.get("reply_to")),
    )
    return command, _clock(headers)


def decode_reply(message: Message, *, accept: frozenset[str]) -> tuple[Reply, int]:
    """The reply in a message, and the node's logical clock; raises as :func:`decode_command`."""
    body, headers = _read(message, accept)
    ticket = headers.get("ticket")
    return Reply(body, ticket if isinstance(ticket, str) else None), _clock(headers)


def is_for(command: Command, node: str) -> bool:
    """Whether a node is asked.

    >>> is_for(Command(method="ping", pattern="mail*", matcher="glob"), "mail@a1")
    True

    Raises:
        DecodeError: The pattern is none, or is matched in a way that we do not know.
    """
    if command.destination:
        return node in command.destination
    if not command.pattern or not command.matcher:
        return True
    return matches(node, command.pattern, command.matcher)


def matches(node: str, pattern: str, matcher: str) -> bool:
    """Whether a node's name fits a pattern.

    Raises:
        DecodeError: As :func:`is_for`.
    """
    if matcher == "glob":
        return fnmatchcase(node, pattern)
    if matcher == "pcre":
        try:
            return re.search(pattern, node) is not None
        except re.error as error:
            raise DecodeError(f"{pattern!r:.80} is no regular expression: {error}.") from error
    raise DecodeError(f"there is no matcher {matcher!r:.80}; there are 'glob' and 'pcre'.")


def _message(
    body: Any,
    serializer: str,
    *,
    headers: dict[str, Any],
    exchange: str,
    routing_key: str = "",
    properties: Mapping[str, object] = {},
) -> Message:
    content_type, content_encoding, data = serializers.dumps(body, serializer)
    return Message(
        id="",
        body=data,
        content_type=content_type,
        content_encoding=content_encoding,
        headers=json.dumps(headers),
        exchange=exchange,
        routing_key=routing_key,
        properties=properties,
    )


def _read(message: Message, accept: frozenset[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    body = serializers.loads(
        message.body, message.content_type, message.content_encoding, accept=accept
    )
    if not is_dict(body):
        raise DecodeError(f"the body is of type {type(body).__name__}, not a mapping.")
    headers = json.loads(message.headers)
    return body, headers if is_dict(headers) else {}


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) else None


def _reply_to(value: Any) -> ReplyTo | None:
    if not is_dict(value):
        return None
    exchange, key = value.get("exchange"), value.get("routing_key")
    if not isinstance(exchange, str) or not isinstance(key, str):
        raise DecodeError(f"replies cannot be sent to {value!r:.120}.")
    return ReplyTo(exchange, key)


def _clock(headers: dict[str, Any]) -> int:
    clock = headers.get("clock")
    return clock if isinstance(clock, int) else 0
