"""The signals around publishing: what receivers see of a message, and may change.

Only for messages that somebody listens for: the documented form (dicts, decoded arguments)
costs more than publishing does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from umbel.serialization import json
from umbel.signals import after_task_publish, before_task_publish, task_sent

if TYPE_CHECKING:
    from umbel.model import Message
    from umbel.wire.call import Call

__all__ = ["after", "before"]


def before(call: Call, message: Message, retry_policy: dict[str, Any]) -> Message:
    """Send ``before_task_publish``; returns the message with the headers and properties that its
    receivers left. Other changes are ignored.

    Source:
        Celery user guide, Signals, ``before_task_publish``.
    """
    headers: dict[str, Any] = msgspec.json.decode(message.headers)
    properties = _properties(message)
    before_task_publish.send(
        sender=call.task,
        body=_body(call, message),
        exchange=message.exchange,
        routing_key=message.routing_key,
        headers=headers,
        properties=properties,
        declare=[],
        retry_policy=retry_policy,
    )
    kept = dict(properties)
    return msgspec.structs.replace(
        message,
        headers=json.dumps(headers),
        correlation_id=kept.pop("correlation_id", message.correlation_id),
        reply_to=kept.pop("reply_to", message.reply_to),
        priority=kept.pop("priority", message.priority),
        properties=kept,
    )


def after(calls: Sequence[Call], messages: Sequence[Message]) -> None:
    """Send ``after_task_publish`` for each message, now that the broker has it; and ``task_sent``,
    its old form.

    Source:
        Celery user guide, Signals, ``after_task_publish``; ``task_sent`` as Celery 5.7 sends it.
    """
    for call, message in zip(calls, messages, strict=True):
        headers: dict[str, Any] = msgspec.json.decode(message.headers)
        after_task_publish.send(
            sender=call.task,
            body=_body(call, message),
            exchange=message.exchange,
            routing_key=message.routing_key,
            headers=headers,
        )
        if task_sent.receivers:
            task_sent.send(
                sender=call.task,
                task_id=call.id,
                task=call.task,
                args=call.args,
                kwargs=call.kwargs,
                eta=headers.get("eta"),
                taskset=headers.get("group"),
            )


def _properties(message: Message) -> dict[str, Any]:
    properties = dict(message.properties)
    properties["correlation_id"] = message.correlation_id
    properties["reply_to"] = message.reply_to
    if message.priority is not None:
        properties["priority"] = message.priority
    return properties


def _body(call: Call, message: Message) -> object:
    if call.protocol == 1 and message.content_type == "application/json" and not call.compression:
        return json.loads(message.body)
    embed = {
        "callbacks": call.callbacks,
        "errbacks": call.errbacks,
        "chain": call.chain,
        "chord": call.chord,
    }
    return call.args, call.kwargs, embed
