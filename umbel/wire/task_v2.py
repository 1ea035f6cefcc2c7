"""Task message protocol 2: the call in the headers, the arguments in the body.

Source:
    Celery internals, "Message Protocol", version 2.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from umbel.exceptions import EncodeError
from umbel.model import Message
from umbel.serialization import json, registry
from umbel.serialization.compression import compress
from umbel.serialization.culprit import renamed
from umbel.utils.saferepr import saferepr
from umbel.wire.call import Call

__all__ = ["encode", "iso"]

_quote: Callable[[str | int | None], bytes] = msgspec.json.Encoder().encode

_SEQUENCES: frozenset[type] = frozenset({list, tuple})
_MAPPINGS: frozenset[type] = frozenset({dict})
_EMBED = b'{"callbacks":null,"errbacks":null,"chain":null,"chord":null}'
_TEMPLATE = (
    b'%b,"id":%b,"root_id":%b,"parent_id":%b,"group":%b,"group_index":%b,"retries":%d,'
    b'"eta":%b,"expires":%b,"argsrepr":%b,"kwargsrepr":%b}'
)
_ROOTS = {"value[0]": "args", "value[1]": "kwargs", "value[2]": "the links"}


def encode(call: Call, properties: dict[str, object]) -> Message:
    """The message of a call, with the given properties.

    Raises:
        EncodeError: Names the argument or header that cannot be written.
    """
    content_type, content_encoding, body = _body(call)
    mime = None
    if call.compression is not None:
        body, mime = compress(body, call.compression)
    eta = call.eta
    return Message(
        id=call.id,
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        headers=_headers(call, mime),
        correlation_id=call.correlation_id or call.id,
        reply_to=call.reply_to,
        properties=properties,
        exchange=call.exchange,
        routing_key=call.routing_key,
        priority=call.priority,
        not_before=eta.timestamp() if eta is not None else None,
        expires_at=call.expires_at,
    )


def iso(moment: datetime | str | None) -> str | None:
    """A moment as the wire writes it; a string stays as it is."""
    return moment.isoformat() if isinstance(moment, datetime) else moment


def _body(call: Call) -> tuple[str, str, bytes]:
    args: Any = call.args
    kwargs: Any = call.kwargs
    plain = (
        call.callbacks is None
        and call.errbacks is None
        and call.chain is None
        and call.chord is None
    )
    if plain and call.serializer == "json":
        try:
            body = b"[%b,%b,%b]" % (
                json.dumps(args if type(args) in _SEQUENCES else list(args)),
                json.dumps(kwargs if type(kwargs) in _MAPPINGS else dict(kwargs))
                if kwargs
                else b"{}",
                _EMBED,
            )
        except EncodeError:
            # Once more below, as a whole: the error then says where in the call it is.
            pass
        else:
            return "application/json", "utf-8", body
    embed = {
        "callbacks": call.callbacks,
        "errbacks": call.errbacks,
        "chain": call.chain,
        "chord": call.chord,
    }
    try:
        return registry.dumps([list(args), dict(kwargs), embed], call.serializer)
    except EncodeError as error:
        raise renamed(error, _ROOTS) from error


def _headers(call: Call, mime: str | None) -> bytes:
    """The headers as JSON, from a template: only few of them differ from call to call."""
    if call.argsrepr is not None:
        argsrepr = call.argsrepr
    else:
        argsrepr = saferepr(call.args) if call.args else "()"
    if call.kwargsrepr is not None:
        kwargsrepr = call.kwargsrepr
    else:
        kwargsrepr = saferepr(call.kwargs) if call.kwargs else "{}"
    if (
        mime is not None
        or call.headers
        or call.stamped_headers is not None
        or call.stamps
        or call.replaced_task_nesting
        or call.shadow is not None
    ):
        return json.dumps(_all_headers(call, argsrepr, kwargsrepr, mime))
    try:
        id_, root = _quote(call.id), call.root_id
        return _TEMPLATE % (
            _head(
                call.task, call.origin, call.ignore_result, call.time_limit, call.soft_time_limit
            ),
            id_,
            id_ if root is None else _quote(root),
            _quote(call.parent_id),
            _quote(call.group_id),
            _quote(call.group_index),
            call.retries,
            b"null" if call.eta is None else _quote(iso(call.eta)),
            b"null" if call.expires is None else _quote(iso(call.expires)),
            _quote(argsrepr),
            _quote(kwargsrepr),
        )
    except UnicodeEncodeError:
        # A lone surrogate, which only the other path can write.
        return json.dumps(_all_headers(call, argsrepr, kwargsrepr, mime))


# Bounded, because task names may be made up; a thousand names are more than a program has.
@lru_cache(maxsize=1024)
def _head(
    task: str,
    origin: str,
    ignore_result: bool | None,
    time_limit: float | None,
    soft_time_limit: float | None,
) -> bytes:
    """What the headers of a task's calls share: all up to the id."""
    shared: dict[str, object] = {
        "lang": "py",
        "task": task,
        "shadow": None,
        "timelimit": [time_limit, soft_time_limit],
        "origin": origin,
        "ignore_result": ignore_result,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    return json.dumps(shared)[:-1]


def _all_headers(call: Call, argsrepr: str, kwargsrepr: str, mime: str | None) -> dict[str, object]:
    document: dict[str, object] = {
        "lang": "py",
        "task": call.task,
        "id": call.id,
        "shadow": call.shadow,
        "eta": iso(call.eta),
        "expires": iso(call.expires),
        "group": call.group_id,
        "group_index": call.group_index,
        "retries": call.retries,
        "timelimit": [call.time_limit, call.soft_time_limit],
        "root_id": call.root_id or call.id,
        "parent_id": call.parent_id,
        "argsrepr": argsrepr,
        "kwargsrepr": kwargsrepr,
        "origin": call.origin,
        "ignore_result": call.ignore_result,
        "replaced_task_nesting": call.replaced_task_nesting,
        "stamped_headers": call.stamped_headers,
        "stamps": call.stamps or {},
    }
    if mime is not None:
        document["compression"] = mime
    if call.headers:
        document.update(call.headers)
    return document
