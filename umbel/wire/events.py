"""Events: what workers and clients say of themselves and of tasks, as Celery writes it.

Source:
    Celery user guide, Monitoring, "Event Reference": types and fields; exchange, routing keys,
    headers and batches as observed with Celery 5.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from umbel.exceptions import DecodeError
from umbel.model import Exchange, Message, Queue, Request
from umbel.serialization import json
from umbel.serialization import registry as serializers
from umbel.serialization.shapes import is_dict, is_list

__all__ = [
    "EventQueue",
    "Success",
    "TaskEvent",
    "TaskFailed",
    "TaskNews",
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
    "written",
]

Success = tuple[str, float, str | None]
"""A task's id, the seconds it took, and the ``repr`` of its result, if that was asked for."""

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


class _Shown(msgspec.Struct, frozen=True, gc=False):
    """What people are shown of a message, taken from its headers as it stands there."""

    argsrepr: msgspec.Raw = _NULL
    kwargsrepr: msgspec.Raw = _NULL
    eta: msgspec.Raw = _NULL
    expires: msgspec.Raw = _NULL


_read_shown = msgspec.json.Decoder(_Shown).decode
_write = msgspec.json.Encoder().encode
_NOTHING = _Shown()


class TaskNews:
    """Writes the events that every task has, many at a time.

    What all events of a node say is written once for all; of each task only its own fields are.
    """

    def __init__(self, *, hostname: str, pid: int, utcoffset: float) -> None:
        self._node = b'"hostname":%b,"pid":%d,"utcoffset":%b' % (
            _write(hostname),
            pid,
            _write(utcoffset),
        )

    def received(self, requests: Iterable[Request], *, clock: int, now: float) -> list[bytes]:
        """``task-received`` of each.

        Args:
            clock: The number of all of them: what is received together is simultaneous.
            now: Unix seconds.
        """
        start = b'{"type":"task-received",%b,"clock":%d,"timestamp":%b,"uuid":' % (
            self._node,
            clock,
            _write(now),
        )
        events: list[bytes] = []
        for request in requests:
            try:
                shown = _read_shown(request.message.headers)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                shown = _NOTHING
            id_, root, parent = _write(request.id), request.root_id, request.parent_id
            events.append(
                b'%b%b,"name":%b,"args":%b,"kwargs":%b,"root_id":%b,"parent_id":%b,'
                b'"retries":%d,"eta":%b,"expires":%b}'
                % (
                    start,
                    id_,
                    _write(request.task),
                    shown.argsrepr,
                    shown.kwargsrepr,
                    id_ if root == request.id else _write(root),
                    b"null" if parent is None else _write(parent),
                    request.retries,
                    shown.eta,
                    shown.expires,
                )
            )
        return events

    def succeeded(self, ends: Iterable[Success], *, clock: int, now: float) -> list[bytes]:
        """``task-started`` and ``task-succeeded`` of each, in one piece.

        Args:
            clock: The number of the starts; ends have the next one, so that they come last
                wherever they are sorted.
            now: Unix seconds of the ends.
        """
        common = b'{"type":"task-%b",%b,"clock":%d,"uuid":'
        start = common % (b"started", self._node, clock)
        end = common % (b"succeeded", self._node, clock + 1)
        moment = _write(now)
        events: list[bytes] = []
        for uuid, runtime, result in ends:
            id_ = _write(uuid)
            events.append(
                b'%b%b,"timestamp":%b},%b%b,"timestamp":%b,"result":%b,"runtime":%b}'
                % (
                    start,
                    id_,
                    _write(now - runtime),
                    end,
                    id_,
                    moment,
                    _text(result),
                    _write(runtime),
                )
            )
        return events


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
    events: Sequence[bytes], *, group: str, hostname: str, exchange: str, serializer: str
) -> Message:
    """The message of several events of one group.

    Args:
        events: As :func:`written` or :class:`TaskNews` writes them.

    Raises:
        EncodeError: They cannot be written with the serializer.
    """
    content_type, content_encoding = "application/json", "utf-8"
    body = b"[%b]" % b",".join(events)
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


def _text(value: str | None) -> bytes:
    try:
        return _write(value)
    except UnicodeEncodeError:
        # Half a character, as a repr may well have it.
        return json.dumps(value)


def _headers(hostname: str) -> bytes:
    return json.dumps({"hostname": hostname})
