"""The signals around publishing: what receivers see of a message, and may change.

Only for messages that somebody listens for: the documented form (dicts, decoded arguments)
costs more than publishing does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from umbel.serialization import json
from umbel.signals import after_task_publish, before_task_publish

if TYPE_CHECKING:
    from umbel.model import Message

__all__ = ["after", "before"]


def before(message: Message) -> Message:
    """Send ``before_task_publish``; returns the message with the headers, properties, exchange
    and routing key that its receivers left.

    The body is shown as ``(args, kwargs, embed)`` where it is JSON; changes to it are ignored.

    Source:
        Celery user guide, Signals, ``before_task_publish``.
    """
    headers: dict[str, Any] = msgspec.json.decode(message.headers)
    properties = _properties(message)
    before_task_publish.send(
        sender=headers.get("task"),
        body=_body(message),
        exchange=message.exchange,
        routing_key=message.routing_key,
        headers=headers,
        properties=properties,
        declare=[],
        retry_policy={},
    )
    return msgspec.structs.replace(
        message,
        headers=json.dumps(headers),
        correlation_id=properties.pop("correlation_id", message.correlation_id),
        reply_to=properties.pop("reply_to", message.reply_to),
        priority=properties.pop("priority", message.priority),
        properties=properties,
    )


def after(messages: Sequence[Message]) -> None:
    """Send ``after_task_publish`` for each message, now that the broker has it.

    Source:
        Celery user guide, Signals, ``after_task_publish``.
    """
    for message in messages:
        headers: dict[str, Any] = msgspec.json.decode(message.headers)
        after_task_publish.send(
            sender=headers.get("task"),
            body=_body(message),
            exchange=message.exchange,
            routing_key=message.routing_key,
            headers=headers,
        )


def _properties(message: Message) -> dict[str, Any]:
    properties = dict(message.properties)
    properties["correlation_id"] = message.correlation_id
    properties["reply_to"] = message.reply_to
    if message.priority is not None:
        properties["priority"] = message.priority
    return properties


def _body(message: Message) -> object:
    if message.content_type == "application/json" and not _is_compressed(message):
        return json.loads(message.body)
    return message.body


def _is_compressed(message: Message) -> bool:
    return b'"compression"' in message.headers
