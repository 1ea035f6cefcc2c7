"""Messages of tasks that have a strategy of their own, on their way past the pool."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from umbel.app.connecting.received import Received
from umbel.model import Ack, Delivery, Nack, Settlement
from umbel.worker.fetching.admission import Accepted
from umbel.worker.settling.finish import Finish
from umbel.worker.strategy import Handler

__all__ = ["Carried", "Strategies"]

logger = logging.getLogger(__name__)

_MOST = 10_000
"""Messages that strategies may keep; a worker that has as many takes no more."""


class Carried(Received):
    """A message of a task, with what the worker has understood of it."""

    def __init__(self, accepted: Accepted, settle: Any, accept: frozenset[str]) -> None:
        super().__init__(accepted.delivery, settle, accept)
        self.accepted = accepted


class Strategies:
    """Hands messages to strategies, and settles them as these say."""

    def __init__(self, finish: Finish, accept: frozenset[str], totals: dict[str, int]) -> None:
        """Make one.

        Args:
            totals: Counts the requests of each task.
        """
        self._finish = finish
        self._accept = accept
        self._totals = totals
        self.handlers: Mapping[str, Handler] = {}
        """By task."""
        self._kept: dict[str, Accepted] = {}
        self._ordinary: list[Accepted] = []
        self._room = asyncio.Event()

    async def divert(self, run: Sequence[Accepted]) -> list[Accepted]:
        """Hand messages to their strategies; returns those that the worker is to run itself."""
        while len(self._kept) >= _MOST:
            self._room.clear()
            await self._room.wait()
        for accepted in run:
            handler = self.handlers.get(accepted.request.task)
            if handler is None:
                self._ordinary.append(accepted)
            else:
                self._hand_over(accepted, handler)
        ordinary, self._ordinary = self._ordinary, []
        return ordinary

    def run(self, message: Carried) -> None:
        """Have the worker run a message itself: to be called while it is handed over."""
        if self._kept.pop(message.delivery_tag, None) is not None:
            self._ordinary.append(message.accepted)

    def leftovers(self) -> list[Delivery]:
        """Hand over what strategies have kept, for others to have it."""
        kept, self._kept = self._kept, {}
        self._room.set()
        return [accepted.delivery for accepted in kept.values()]

    def _hand_over(self, accepted: Accepted, handler: Handler) -> None:
        name = accepted.request.task
        self._kept[accepted.delivery.tag] = accepted
        self._totals[name] = self._totals.get(name, 0) + 1
        try:
            message = Carried(accepted, self._settle, self._accept)
            handler(message, None, message.ack_log_error, message.reject_log_error, set())
        except Exception as error:
            # User code: the others are not to wait for this one.
            logger.exception("The strategy of task %s[%s] has failed", name, accepted.request.id)
            if self._kept.pop(accepted.delivery.tag, None) is not None:
                reason = f"its strategy has failed: {error!r}"
                self._enter(accepted.delivery, Nack(requeue=False, reason=reason))

    def _settle(self, delivery: Delivery, requeue: bool | None) -> None:
        # Absent: others have it by now.
        if self._kept.pop(delivery.tag, None) is None:
            return
        self._room.set()
        reason = "" if requeue else "rejected by its strategy"
        self._enter(delivery, Ack() if requeue is None else Nack(requeue=requeue, reason=reason))

    def _enter(self, delivery: Delivery, verdict: Ack | Nack) -> None:
        self._finish.enter([Settlement(delivery=delivery, verdict=verdict)])
