"""From entries that are due to messages: made, sent, and sent again when the broker was away."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from umbel.beat import watched
from umbel.beat.lazy import evaluated
from umbel.exceptions import BackendUnavailable, BatchError
from umbel.model import Firing, Message, ScheduleRecord
from umbel.schedules.plan import Plan
from umbel.states import READY_STATES
from umbel.wire.call import Call

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["Prepared", "Sending"]

logger = logging.getLogger("umbel.beat")

_UNKNOWN_FOR = 86400.0
"""Seconds after which a task nothing is known of counts as ended: results are kept that long."""


class Prepared(msgspec.Struct, frozen=True):
    """Messages by task id, in order, with what they were made of."""

    names: Mapping[str, str]
    """Entry by task id."""
    calls: Mapping[str, Call]
    messages: Mapping[str, Message]


class Sending:
    """Sends what entries run, in batches."""

    def __init__(self, app: Umbel) -> None:
        self._app = app
        # Taken in the store, and not known to be sent: entry by task id.
        self._unsent: dict[str, tuple[str, Message]] = {}

    def prepare(self, due: Sequence[tuple[Plan, Firing]]) -> Prepared:
        """The messages of steps that run a task. What cannot be made is logged, and is as if it
        had run: it would fail the next time, too."""
        names: dict[str, str] = {}
        calls: dict[str, Call] = {}
        messages: dict[str, Message] = {}
        app = self._app
        for plan, firing in due:
            task_id = str(firing.task_id)
            try:
                options = watched.seen(app, plan) if watched.is_watched() else plan.options
                made = app.calls_of(_signature(plan, firing, options))
                encoded = app.producer.encode(made, app.publish_policy(options))
            except Exception:
                # Arguments, routes and receivers of signals are the user's, and raise anything.
                logger.exception("beat: Couldn't apply scheduled task %s", plan.name)
                continue
            # None where the task has an apply_async of its own that sends none.
            for call, message in zip(made, encoded, strict=True):
                names[task_id], calls[task_id], messages[task_id] = plan.name, call, message
        return Prepared(names, calls, messages)

    async def send(
        self,
        prepared: Prepared,
        taken: Collection[str],
        sent: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        """Publish those whose step was taken, and say so.

        Raises:
            BrokerUnavailable: They could not be; :meth:`catch_up` tries again.
        """
        for task_id, message in prepared.messages.items():
            if task_id in taken:
                self._unsent[task_id] = prepared.names[task_id], message
        await self.catch_up(sent)
        await self.announce(prepared, taken)

    def remember(self, plan: Plan, record: ScheduleRecord) -> None:
        """A task of which nobody knows whether it was sent: the same id, so that it can be told."""
        logger.warning("beat: Sending %s again: its scheduler died while it was sent.", plan.name)
        firing = Firing(
            name=plan.name,
            after=record.since,
            until=record.since,
            at=record.last_run or record.since,
            task_id=record.task_id,
        )
        for task_id, message in self.prepare([(plan, firing)]).messages.items():
            self._unsent[task_id] = plan.name, message

    async def catch_up(self, sent: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        """Publish what is still to be sent."""
        unsent = self._unsent
        if not unsent:
            return
        app = self._app
        messages = [message for _, message in unsent.values()]
        try:
            await app.producer.publish(messages, app.publish_policy({"retry": False}))
        except BatchError as error:
            for index, reason in error.errors.items():
                name = list(unsent.values())[index][0]
                logger.error(  # noqa: TRY400 - where it was refused says nothing
                    "beat: Couldn't apply scheduled task %s: %s", name, reason
                )
        names = list(dict.fromkeys(name for name, _ in unsent.values()))
        unsent.clear()
        await sent(names)

    async def announce(self, prepared: Prepared, sent: Collection[str | None]) -> None:
        """Tell the receivers of ``after_task_publish``."""
        ids = [task_id for task_id in prepared.calls if task_id in sent]
        await self._app.producer.announce(
            [prepared.calls[task_id] for task_id in ids],
            [prepared.messages[task_id] for task_id in ids],
        )

    async def unfinished(self, entries: Sequence[tuple[Plan, ScheduleRecord]]) -> set[str]:
        """The entries that mind whether their last task has ended, and whose has not."""
        now = self._app.wall_clock.time()
        asked = {
            record.task_id: plan.name
            for plan, record in entries
            if plan.overlap != "allow"
            and record.task_id is not None
            and now - (record.last_run or 0.0) < _UNKNOWN_FOR
        }
        if not asked:
            return set()
        try:
            backend = await self._app.connections.backend()
            found = await backend.load(list(asked))
        except BackendUnavailable as error:
            logger.warning("beat: Not known whether earlier tasks have ended: %s", error)
            return set(asked.values())
        ended = {task_id for task_id, record in found.items() if record.state in READY_STATES}
        return {name for task_id, name in asked.items() if task_id not in ended}


def _signature(plan: Plan, firing: Firing, given: Mapping[str, Any]) -> dict[str, Any]:
    options = {key: value for key, value in given.items() if value is not None}
    headers: dict[str, Any] = {
        **(options.get("headers") or {}),
        "celery_beat_task": True,
        "umbel_scheduled_for": datetime.fromtimestamp(firing.until, UTC).isoformat(),
    }
    return {
        "task": plan.task,
        "args": [evaluated(value) for value in plan.args],
        "kwargs": {key: evaluated(value) for key, value in plan.kwargs.items()},
        "options": {**options, "headers": headers, "task_id": firing.task_id},
    }
