"""``task-sent``: the event of a client that has sent a task.

Source:
    Celery user guide, Monitoring, "task-sent"; the setting ``task_send_sent_event``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from umbel.exceptions import EncodeError, OperationalError

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.model import Message
    from umbel.wire.call import Call

__all__ = ["SentEvents"]

logger = logging.getLogger(__name__)


class SentEvents:
    """Tells of what was sent. That it cannot be told is no reason for sending to fail."""

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self.conf = app.conf

    async def tell(self, calls: Sequence[Call], messages: Sequence[Message]) -> None:
        """One event for each message; the broker has them already."""
        # Who sends no events does not pay for the module.
        from umbel.wire.events import encode_one, exchange_of

        conf = self.conf
        exchange = exchange_of(conf.event_exchange)
        try:
            events = [
                encode_one(
                    self._event(call, message),
                    exchange=exchange.name,
                    serializer=conf.event_serializer,
                )
                for call, message in zip(calls, messages, strict=True)
            ]
            await (await self.app.connections.fanout()).broadcast(exchange, events)
        except (OperationalError, EncodeError) as error:
            logger.warning("Could not tell of %d tasks that were sent: %s", len(calls), error)

    def _event(self, call: Call, message: Message) -> dict[str, Any]:
        # Only programs that send events need the offset, whose module knows the events' world.
        from umbel.events.sender import utcoffset

        headers: dict[str, Any] = msgspec.json.decode(message.headers)
        clock = self.app.wall_clock
        return {
            "type": "task-sent",
            "hostname": self.app.origin,
            "utcoffset": utcoffset(clock),
            "pid": os.getpid(),
            "clock": self.app.clock.forward(),
            "timestamp": clock.time(),
            "uuid": call.id,
            "root_id": headers.get("root_id", call.root_id),
            "parent_id": call.parent_id,
            "name": call.task,
            "args": headers.get("argsrepr"),
            "kwargs": headers.get("kwargsrepr"),
            "retries": call.retries,
            "eta": headers.get("eta"),
            "expires": headers.get("expires"),
            "queue": message.routing_key if not message.exchange else None,
            "exchange": message.exchange,
            "routing_key": message.routing_key,
        }
