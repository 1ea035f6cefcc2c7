"""Task message protocol 1: everything in the body, a mapping.

Source:
    Celery internals, "Message Protocol", version 1; ``task_protocol=1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from umbel.exceptions import EncodeError
from umbel.model import Message
from umbel.serialization import json, registry
from umbel.serialization.compression import compress
from umbel.serialization.culprit import renamed
from umbel.serialization.shapes import is_dict
from umbel.wire.call import Call
from umbel.wire.task_v2 import iso

__all__ = ["encode"]

_ROOTS = {"value['args']": "args", "value['kwargs']": "kwargs"}


def encode(call: Call, properties: dict[str, object]) -> Message:
    """The message of a call, with the given properties.

    Root, parent, shadow, origin and stamps have no place in this protocol. A chain travels as
    nested callbacks, as it did before protocol 2.

    Raises:
        EncodeError: Names the argument or header that cannot be written.
    """
    try:
        content_type, content_encoding, body = registry.dumps(_document(call), call.serializer)
    except EncodeError as error:
        raise renamed(error, _ROOTS) from error
    headers: dict[str, object] = dict(call.headers or {})
    if call.compression is not None:
        body, headers["compression"] = compress(body, call.compression)
    return Message(
        id=call.id,
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        headers=json.dumps(headers),
        correlation_id=call.correlation_id or call.id,
        reply_to=call.reply_to,
        properties=properties,
        exchange=call.exchange,
        routing_key=call.routing_key,
        priority=call.priority,
        not_before=call.eta.timestamp() if call.eta is not None else None,
        expires_at=call.expires_at,
    )


def _document(call: Call) -> dict[str, object]:
    return {
        "task": call.task,
        "id": call.id,
        "args": list(call.args),
        "kwargs": dict(call.kwargs),
        "group": call.group_id,
        "group_index": call.group_index,
        "retries": call.retries,
        "eta": iso(call.eta),
        "expires": iso(call.expires),
        "utc": True,
        "callbacks": _with_chain(call.callbacks, call.chain),
        "errbacks": call.errbacks,
        "timelimit": [call.time_limit, call.soft_time_limit],
        "taskset": call.group_id,
        "chord": call.chord,
    }


def _with_chain(
    callbacks: Sequence[object] | None, chain: Sequence[object] | None
) -> Sequence[object] | None:
    """The callbacks, and the chain's next link with the rest of the chain as its callback."""
    link: dict[str, Any] | None = None
    for signature in chain or ():
        if not is_dict(signature):
            raise EncodeError(f"chain holds a {type(signature).__name__}, not a signature.")
        step: dict[str, Any] = dict(signature)
        if link is not None:
            options = dict(step.get("options") or {})
            options["link"] = [*(options.get("link") or ()), link]
            step["options"] = options
        link = step
    return callbacks if link is None else [*(callbacks or ()), link]
