"""Events: what workers and clients say of themselves and of tasks, as Celery writes it.

Source:
    Celery user guide, Monitoring, "Event Reference": types and fields; exchange, routing keys,
    headers and batches as observed with Celery 5.7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from umbel.exceptions import DecodeError
from umbel.model import Exchange, Message, Queue
from umbel.serialization import json
from umbel.serialization import registry as serializers
from umbel.serialization.shapes import is_dict, is_list
from umbel.wire import envelope
from umbel.wire.news import ENCLOSED, PLAIN

__all__ = [
    "EventQueue",
    "TaskEvent",
    "TaskFailed",
    "TaskRejected",
    "TaskRetried",
    "TaskRevoked",
    "TaskStarted",
    "decode",
    "encode_batch",
    "encode_one",
    "exchange_of",
    "group_of",
    "written",
]

_TRANSIENT: Mapping[str, object] = {"delivery_mode": 1}
_ENCLOSED: Mapping[str, object] = {**_TRANSIENT, "body_encoding": envelope.ENCLOSED}


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


class TaskStarted(TaskEvent, kw_only=True, tag="task-started", gc=False):
    """It runs."""


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


_write = msgspec.json.Encoder().encode


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


def written(event: TaskEvent | dict[str, Any]) -> bytes:
    """An event as JSON, for :func:`encode_batch`.

    Raises:
        EncodeError: A field cannot be serialized.
    """
    try:
        return _write(event)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # Fields of one's own that msgspec does not know, and our JSON does.
        return json.dumps(event if isinstance(event, dict) else msgspec.to_builtins(event))


def encode_batch(
    events: Sequence[bytes],
    *,
    group: str,
    hostname: str,
    exchange: str,
    serializer: str,
    style: int = PLAIN,
) -> Message:
    """The message of several events of one group.

    Args:
        events: As :func:`written` and :class:`umbel.wire.news.TaskNews` write them.
        style: That of the events; other than plain only with the serializer ``json``.

    Raises:
        EncodeError: They cannot be written with the serializer.
    """
    content_type, content_encoding = "application/json", "utf-8"
    body = b"[" + b",".join(events) + b"]"
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
        properties=_ENCLOSED if style == ENCLOSED else _TRANSIENT,
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


# Of this node, mostly.
@lru_cache(maxsize=64)
def _headers(hostname: str) -> bytes:
    return json.dumps({"hostname": hostname})
