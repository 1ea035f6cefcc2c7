"""Calls as messages, and messages as requests; picks the protocol.

Source:
    Celery internals, "Message Protocol", versions 1 and 2, and the hybrid of both that
    producers of Celery 3.1 write: headers of version 2, a body of version 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from umbel.clock import SystemClock
from umbel.exceptions import (
    ContentDisallowed,
    DecodeError,
    InvalidTaskError,
    SecurityError,
    TooLarge,
)
from umbel.model import Delivery, Message, Request
from umbel.protocols.clock import Clock
from umbel.serialization.shapes import is_dict, is_list
from umbel.wire import headers, moments, task_v1, task_v2
from umbel.wire.body import (
    Body,
    check_signature,
    check_signatures,
    from_document,
    from_sequence,
    load,
)
from umbel.wire.call import Call

__all__ = ["Body", "decode", "encode", "identified", "next_try", "read_body"]

_LONGEST_NAME = 1024
"""Characters in a task's name or id; what is longer is no name, and no database key."""
_MOST_RETRIES = 1_000_000
"""Beyond it, delays that grow with every retry would take longer to compute than to wait."""
_FOREVER = 1e9
"""Seconds, thirty years; operating systems refuse timers that are much longer."""

_UNLIMITED = (None, None)
_NO_TASK = "no task in the headers"

_SYSTEM = SystemClock()


class _Needed(msgspec.Struct):
    """The headers that decide what becomes of a message; the others are left as bytes."""

    task: str
    id: str
    retries: int | None = 0
    eta: str | None = None
    expires: str | None = None
    timelimit: tuple[float | None, float | None] | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    ignore_result: bool | None = None
    umbel_publication: str | None = None


class _Shown(_Needed):
    """Those, and what is shown to people."""

    argsrepr: str | None = None
    kwargsrepr: str | None = None


_read_needed = msgspec.json.Decoder(_Needed).decode
_read_shown = msgspec.json.Decoder(_Shown).decode


class _Embed(msgspec.Struct):
    callbacks: list[dict[str, Any]] | None = None
    errbacks: list[dict[str, Any]] | None = None
    chain: list[dict[str, Any]] | None = None
    chord: dict[str, Any] | None = None


_NO_LINKS = _Embed()

_read_plain_body = msgspec.json.Decoder(tuple[list[Any], dict[str, Any], _Embed]).decode


def encode(call: Call, *, clock: Clock = _SYSTEM) -> Message:
    """The message that asks for a call.

    When the call expires, the message says so twice: ``expires_at`` for brokers of ours, and
    the property ``expiration``, milliseconds from now in a string, for AMQP.

    Raises:
        EncodeError: An argument or header cannot be written; says which, and where.
        ImproperlyConfigured: There is no such serializer.
    """
    properties: dict[str, object] = {}
    if call.properties:
        properties.update(call.properties)
    if call.delivery_mode != 2:
        properties["delivery_mode"] = call.delivery_mode
    if call.expires_at is not None and call.expires is not None:
        left = max(0, round((call.expires_at - clock.time()) * 1000))
        properties["expiration"] = str(left)
    if call.protocol == 1:
        return task_v1.encode(call, properties)
    return task_v2.encode(call, properties)


def decode(
    delivery: Delivery, *, key: int, accept: frozenset[str], limit: int, tell: int = 0
) -> Request:
    """The request that a message asks for. The body of protocol 2 is not looked at.

    Args:
        key: The request's; ours alone.
        accept: The content types that may be read.
        limit: Bytes that a compressed body of protocol 1 may unpack to.
        tell: See :attr:`Request.tell`.

    Raises:
        ContentDisallowed: The content type is not among ``accept``.
        InvalidTaskError: The message is none of a task; says why, in one sentence.
        SecurityError: It is of protocol 1, and its signature is not valid.
    """
    message = delivery.message
    if delivery.defect is not None:
        raise InvalidTaskError(delivery.defect)
    if message.content_type not in accept:
        raise ContentDisallowed(
            f"refused content of type {message.content_type!r:.80}: "
            f"accept_content allows {', '.join(sorted(accept)) or 'nothing'}."
        )
    args = kwargs = None
    try:
        if tell:
            shown = _read_shown(message.headers)
            needed: _Needed = shown
            args, kwargs = shown.argsrepr, shown.kwargsrepr
        else:
            needed = _read_needed(message.headers)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if tell:
            # What is only for people decides nothing.
            return decode(delivery, key=key, accept=accept, limit=limit)
        return _decode_carefully(delivery, key, accept, limit)
    id_, task, root = needed.id, needed.task, needed.root_id
    parent, group = needed.parent_id, needed.group
    if not (
        0 < len(id_) <= _LONGEST_NAME
        and 0 < len(task) <= _LONGEST_NAME
        and id_.isprintable()
        and task.isprintable()
    ):
        _name("id", id_)
        _name("task", task)
    # Fifteen at most: for more Python would make a dictionary first, which costs five times that.
    request = Request(
        key=key,
        id=id_,
        task=task,
        message=message,
        queue=delivery.queue,
        attempt=delivery.attempt,
        redelivered=delivery.redelivered,
        root_id=root if root is None or root == id_ else _name("root_id", root),
        parent_id=parent if parent is None else _reference("parent_id", parent),
        group_id=group if group is None else _reference("group", group),
        ignore_result=needed.ignore_result,
        publication=needed.umbel_publication,
        tell=tell,
        args_shown=args,
        kwargs_shown=kwargs,
    )
    limits, eta, expires = needed.timelimit or _UNLIMITED, needed.eta, needed.expires
    if limits != _UNLIMITED or needed.retries or eta is not None or expires is not None:
        return _as_asked(request, needed, limits)
    return request


def identified(delivery: Delivery, *, key: int) -> Request | None:
    """What a message that :func:`decode` refuses says all the same: which task it is of, and where
    that stands in a workflow. None: not even that.

    It must not be run: what else it asks for is left out.
    """
    message = delivery.message
    if delivery.defect is not None:
        return None
    try:
        found = headers.read(message)
    except DecodeError:
        found = {}
    id_ = _readable(found.get("id")) or _readable(message.id)
    if id_ is None:
        return None
    ignores = found.get("ignore_result")
    return Request(
        key=key,
        id=id_,
        task=_readable(found.get("task")) or "unknown",
        message=message,
        queue=delivery.queue,
        root_id=_readable(found.get("root_id")),
        parent_id=_readable(found.get("parent_id")),
        group_id=_readable(found.get("group")),
        ignore_result=ignores if isinstance(ignores, bool) else None,
    )


def _readable(value: object) -> str | None:
    try:
        return _name("", value)
    except InvalidTaskError:
        return None


def _as_asked(
    request: Request, needed: _Needed, limits: tuple[float | None, float | None]
) -> Request:
    """The request with what few messages ask for."""
    hard, soft = _time_limits([*limits])
    return msgspec.structs.replace(
        request,
        retries=_retries(needed.retries),
        eta=None if needed.eta is None else _moment("eta", needed.eta),
        expires=None if needed.expires is None else _moment("expires", needed.expires),
        time_limit=hard,
        soft_time_limit=soft,
    )


def next_try(request: Request, due: datetime) -> Message:
    """The message of another try of a task that could not ask for it itself: as it came, one more
    retry, due then. Its body is not looked at.

    Raises:
        InvalidTaskError: It is of protocol 1, which has all of this in the body.
        DecodeError: Its headers cannot be read.
    """
    if request.protocol != 2:
        raise InvalidTaskError(
            f"task {request.task}[{request.id}] came by message protocol {request.protocol}: "
            "only those of protocol 2 can be tried again without being opened"
        )
    changes = {"retries": request.retries + 1, "eta": task_v2.iso(due)}
    message = headers.changed(request.message, changes)
    return msgspec.structs.replace(message, not_before=due.timestamp())


def read_body(request: Request, *, accept: frozenset[str], limit: int) -> Body:
    """The arguments of a request, and its links.

    Raises:
        ContentDisallowed: The content type is not among ``accept``.
        TooLarge: The body unpacks to more than ``limit`` bytes.
        DecodeError: The body cannot be decompressed or decoded.
        InvalidTaskError: The body is not one of a task; says why, in one sentence.
    """
    message = request.message
    data = message.body
    if (
        message.content_type == "application/json"
        and "application/json" in accept
        and b'"__type__"' not in data
        and b'"compression"' not in message.headers
    ):
        try:
            args, kwargs, embed = _read_plain_body(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # Not JSON to msgspec, or not what we hoped for: the other path says which.
            pass
        else:
            return Body(args, kwargs) if embed == _NO_LINKS else _linked(args, kwargs, embed)
    document = load(message, accept=accept, limit=limit)
    if is_dict(document):
        return from_document(document)
    return from_sequence(document)


def _linked(args: list[Any], kwargs: dict[str, Any], embed: _Embed) -> Body:
    check_signatures("callbacks", embed.callbacks)
    check_signatures("errbacks", embed.errbacks)
    check_signatures("chain", embed.chain)
    if embed.chord is not None:
        check_signature("chord", embed.chord)
    return Body(args, kwargs, embed.callbacks, embed.errbacks, embed.chain, embed.chord)


def _decode_carefully(delivery: Delivery, key: int, accept: frozenset[str], limit: int) -> Request:
    """What :func:`decode` does, header by header: for protocol 1, and to say what is wrong."""
    message = delivery.message
    try:
        found: Mapping[Any, Any] = headers.read(message)
    except DecodeError as error:
        raise InvalidTaskError(f"unreadable headers: {error}") from error
    protocol = 2
    if "task" not in found:
        protocol = 1
        found = _document_of_protocol_1(message, accept, limit)
    hard, soft = _time_limits(found.get("timelimit"))
    group = found.get("taskset") if protocol == 1 else None
    eta, expires = found.get("eta"), found.get("expires")
    return Request(
        key=key,
        id=_name("id", found.get("id")),
        task=_name("task", found.get("task")),
        message=message,
        queue=delivery.queue,
        attempt=delivery.attempt,
        redelivered=delivery.redelivered,
        retries=_retries(found.get("retries")),
        eta=None if eta is None else _moment("eta", eta),
        expires=None if expires is None else _moment("expires", expires),
        time_limit=hard,
        soft_time_limit=soft,
        root_id=_reference("root_id", found.get("root_id")),
        parent_id=_reference("parent_id", found.get("parent_id")),
        group_id=_reference("group", group or found.get("group")),
        ignore_result=_ignore_result(found.get("ignore_result")),
        protocol=protocol,
    )


def _document_of_protocol_1(
    message: Message, accept: frozenset[str], limit: int
) -> Mapping[Any, Any]:
    try:
        document = load(message, accept=accept, limit=limit)
    except (DecodeError, TooLarge) as error:
        raise InvalidTaskError(f"{_NO_TASK}, and an unreadable body: {error}") from error
    except SecurityError as error:
        raise SecurityError(f"{_NO_TASK}, and a refused body: {error}") from error
    if not is_dict(document) or "task" not in document:
        raise InvalidTaskError("no task, neither in the headers nor in the body.")
    return document


def _name(field: str, value: object) -> str:
    """A task's name or id: printable, so that logs, keys and files are safe from it."""
    if not isinstance(value, str):
        if value is None:
            raise InvalidTaskError(f"the message has no {field}.")
        raise InvalidTaskError(f"{field} is of type {type(value).__name__}, not a string.")
    if not 0 < len(value) <= _LONGEST_NAME:
        raise InvalidTaskError(
            f"{field} has {len(value)} characters, not between 1 and {_LONGEST_NAME}."
        )
    if not value.isprintable():
        raise InvalidTaskError(f"{field} holds characters that cannot be printed: {value!r:.100}.")
    return value


def _reference(field: str, value: object) -> str | None:
    return None if value is None else _name(field, value)


def _retries(value: object) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidTaskError(f"retries is of type {type(value).__name__}, not an integer.")
    if not 0 <= value <= _MOST_RETRIES:
        raise InvalidTaskError(f"retries is not between 0 and {_MOST_RETRIES}.")
    return value


def _moment(field: str, value: object) -> float:
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if not isinstance(value, str):
        raise InvalidTaskError(f"{field} is of type {type(value).__name__}, not ISO 8601.")
    try:
        return moments.read(value)
    except ValueError as error:
        raise InvalidTaskError(f"{field} is not ISO 8601: {value!r:.80}.") from error


def _time_limits(value: Any) -> tuple[float | None, float | None]:
    """Hard and soft; zero and forever are no limit."""
    if value is None:
        return None, None
    if not is_list(value) or len(value) not in (0, 2):
        raise InvalidTaskError("timelimit is not [hard, soft].")
    hard, soft = value or (None, None)
    return _seconds(hard), _seconds(soft)


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidTaskError(f"timelimit holds a {type(value).__name__}, not seconds.")
    if not value >= 0:
        raise InvalidTaskError("timelimit holds a number below zero, or none at all.")
    return float(value) if 0 < value < _FOREVER else None


def _ignore_result(value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise InvalidTaskError(f"ignore_result is of type {type(value).__name__}, not a boolean.")
