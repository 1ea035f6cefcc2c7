"""Events: what workers and clients say of themselves and of tasks, as Celery writes it.

Source:
    Celery user guide, Monitoring, "Event Reference": types and fields; exchange, routing keys,
    headers and batches as observed with Celery 5.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from umbel.exceptions import DecodeError
from umbel.model import Exchange, Message, Queue
from umbel.serialization import json
from umbel.serialization import registry as serializers
from umbel.serialization.shapes import is_dict, is_list

__all__ = [
    "EventQueue",
    "Shown",
    "TaskEvent",
    "TaskFailed",
    "TaskReceived",
    "TaskRejected",
    "TaskRetried",
    "TaskRevoked",
    "TaskStarted",
    "TaskSucceeded",
    "decode",
    "encode_batch",
    "encode_one",
    "exchange_of",
    "group_of",
    "shown",
]

_TRANSIENT = {"delivery_mode": 1}
_NULL = msgspec.Raw(b"null")


class TaskEvent(msgspec.Struct, kw_only=True, tag_field="type", gc=False):
    """What all events of tasks say."""

    uuid: str
    hostname: str
    pid: int
    utcoffset: float
    """Hours west of UTC."""
    clock: int
    timestamp: float
    """Unix seconds."""


class TaskReceived(TaskEvent, kw_only=True, tag="task-received", gc=False):
    """A worker has it."""

    name: str
    args: msgspec.Raw
    """A JSON string: the ``repr`` of the arguments."""
    kwargs: msgspec.Raw
    root_id: str | None
    parent_id: str | None
    retries: int
    eta: msgspec.Raw
    expires: msgspec.Raw


class TaskStarted(TaskEvent, kw_only=True, tag="task-started", gc=False):
    """It runs."""


class TaskSucceeded(TaskEvent, kw_only=True, tag="task-succeeded", gc=False):
    """It has returned."""

    result: str | None
    """The ``repr``; None when nobody has asked for it in time."""
    runtime: float
    """Seconds."""


class TaskFailed(TaskEvent, kw_only=True, tag="task-failed", gc=False):
    """It has failed."""

    exception: str
    """The ``repr``."""
    traceback: str | None = None


class TaskRetried(TaskEvent, kw_only=True, tag="task-retried", gc=False):
    """It will be tried again."""

    exception: str
    traceback: str | None = None


class TaskRejected(TaskEvent, kw_only=True, tag="task-rejected", gc=False):
    """It did not want its message."""

    requeue: bool


class TaskRevoked(TaskEvent, kw_only=True, tag="task-revoked", gc=False):
    """It did not run, or not to its end."""

    terminated: bool
    signum: int | None
    expired: bool


class Shown(msgspec.Struct, frozen=True, gc=False):
    """What people are shown of a message, taken from its headers as it stands there."""

    argsrepr: msgspec.Raw = _NULL
    kwargsrepr: msgspec.Raw = _NULL
    eta: msgspec.Raw = _NULL
    expires: msgspec.Raw = _NULL


_read_shown = msgspec.json.Decoder(Shown).decode
_write = msgspec.json.Encoder().encode
_NOTHING = Shown()


def shown(message: Message) -> Shown:
    """What the headers of a task's message say for people; nothing where they are unreadable."""
    try:
        return _read_shown(message.headers)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NOTHING


class EventQueue(msgspec.Struct, frozen=True, kw_only=True):
    """What the queue of one who listens is like."""

    exchange: str = "celeryev"
    prefix: str = "celeryev"
    ttl: float | None = 5.0
    """Seconds."""
    expires: float | None = 60.0
    """Seconds."""
    exclusive: bool = True
    durable: bool = False

    def queue(self, node_id: str, routing_key: str) -> Queue:
        """The queue of the listener called ``node_id``."""
        return Queue(
            f"{self.prefix}.{node_id}",
            exchange=exchange_of(self.exchange),
            routing_key=routing_key,
            durable=self.durable,
            exclusive=self.exclusive,
            auto_delete=not self.durable,
            expires=self.expires,
            message_ttl=self.ttl,
        )


def exchange_of(name: str) -> Exchange:
    """The exchange of events."""
    return Exchange(name, "topic")


def group_of(type_: str) -> str:
    """The group of an event type.

    >>> group_of("task-sent"), group_of("custom-my-event")
    ('task', 'custom')
    """
    return type_.partition("-")[0]


def encode_one(event: dict[str, Any], *, exchange: str, serializer: str) -> Message:
    """The message of one event.

    Raises:
        EncodeError: A field cannot be serialized.
    """
    content_type, content_encoding, body = serializers.dumps(event, serializer)
    return Message(
        id="",
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        headers=_headers(str(event.get("hostname", ""))),
        exchange=exchange,
        routing_key=str(event["type"]).replace("-", "."),
        properties=_TRANSIENT,
    )


def encode_batch(
    events: Sequence[TaskEvent | dict[str, Any]],
    *,
    group: str,
    hostname: str,
    exchange: str,
    serializer: str,
) -> Message:
    """The message of several events of one group.

    Raises:
        EncodeError: A field cannot be serialized.
    """
    content_type, content_encoding = "application/json", "utf-8"
    try:
        body = _write(events)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # Fields of one's own that msgspec does not know, and our JSON does.
        plain = [
            event if isinstance(event, dict) else json.loads(_write(event)) for event in events
        ]
        body = json.dumps(plain)
    if serializer != "json":
        content_type, content_encoding, body = serializers.dumps(json.loads(body), serializer)
    return Message(
        id="",
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        headers=_headers(hostname),
        exchange=exchange,
        routing_key=f"{group}.multi",
        properties=_TRANSIENT,
    )


def decode(message: Message, *, accept: frozenset[str]) -> list[dict[str, Any]]:
    """The events in a message; what is no event is left out.

    Raises:
        ContentDisallowed: Its content type is not accepted.
        DecodeError: It cannot be read; says why, in one sentence.
    """
    body = serializers.loads(
        message.body, message.content_type, message.content_encoding, accept=accept
    )
    events = body if is_list(body) else [body]
    found = [event for event in events if is_dict(event) and isinstance(event.get("type"), str)]
    if len(found) < len(events):
        raise DecodeError("the message has what is no event: it has no type.")
    return found


def _headers(hostname: str) -> bytes:
    return json.dumps({"hostname": hostname})
