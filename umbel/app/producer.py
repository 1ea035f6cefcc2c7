"""Stop 2 of a task's way: calls become messages, and messages are published in batches.

Calls that arrive on a loop while a batch is under way gather, and go out together as the next
one: a batch of one when it is quiet, of thousands when it is not, and never a wait for company.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import msgspec

from umbel.app import announce
from umbel.exceptions import BatchError, BrokerUnavailable
from umbel.signals import after_task_publish, before_task_publish
from umbel.wire import tasks

if TYPE_CHECKING:
    import asyncio

    from umbel.model import Message
    from umbel.protocols import Broker, Clock
    from umbel.wire.call import Call

__all__ = ["NO_RETRY", "Producer", "PublishPolicy"]


class PublishPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and after which pauses, publishing is tried again when the broker is away.

    Source:
        Celery user guide, Calling Tasks, "Message Sending Retry": ``retry_policy``.

    >>> [PublishPolicy().pause(n) for n in (1, 2, 3)]
    [0.0, 0.2, 0.4]
    """

    max_retries: int | None = 3
    """Attempts after the first; None: for ever."""
    interval_start: float = 0.0
    """Seconds before the first repetition."""
    interval_step: float = 0.2
    """Seconds added for each further one."""
    interval_max: float = 1.0
    """Seconds; no pause is longer."""

    @classmethod
    def of(cls, retry: bool, policy: Mapping[str, Any] | None) -> PublishPolicy:
        """The policy that the options ``retry`` and ``retry_policy`` ask for."""
        if not retry:
            return NO_RETRY
        known = {name: value for name, value in (policy or {}).items() if name in _FIELDS}
        return msgspec.convert(known, cls)

    def pause(self, repetition: int) -> float:
        """Seconds to wait before repetition ``repetition``, counted from 1."""
        return min(self.interval_start + self.interval_step * (repetition - 1), self.interval_max)

    def allows(self, repetition: int) -> bool:
        """Whether repetition ``repetition`` may be made."""
        return self.max_retries is None or repetition <= self.max_retries


_FIELDS = frozenset(PublishPolicy.__struct_fields__)

NO_RETRY = PublishPolicy(max_retries=0)

_BATCH_LIMIT = 1000
"""Messages in one publish; no broker's own limit is lower than a batch is worth."""


class _Entry:
    """One caller's messages, waiting to go out with a batch."""

    __slots__ = ("messages", "turn")

    def __init__(self, messages: Sequence[Message], turn: asyncio.Future[bool]) -> None:
        self.messages = messages
        # True: it is yours to send the next batch. False: your messages are out.
        self.turn = turn


class _Outbox:
    """What gathers on one loop."""

    __slots__ = ("busy", "waiting")

    def __init__(self) -> None:
        self.busy = False
        self.waiting: list[_Entry] = []


class _Clients(Protocol):
    async def broker(self) -> Broker: ...


class Producer:
    """Encodes calls and publishes them; for any thread and any loop."""

    def __init__(self, connections: _Clients, clock: Clock) -> None:
        self._connections = connections
        self._clock = clock
        self._outbox_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Outbox] = (
            WeakKeyDictionary()
        )

    async def send(self, calls: Sequence[Call], policy: PublishPolicy) -> None:
        """Publish the calls; returns once the broker has confirmed them.

        Raises:
            OperationalError: The broker could not be reached within ``policy``, or refused.
        """
        messages = self.encode(calls)
        await self.publish(messages, policy)
        if after_task_publish.receivers:
            announce.after(messages)

    def encode(self, calls: Sequence[Call]) -> list[Message]:
        """The calls' messages, as ``before_task_publish`` leaves them."""
        encode = tasks.encode
        messages = [encode(call) for call in calls]
        if before_task_publish.receivers:
            messages = [announce.before(message) for message in messages]
        return messages

    async def publish(self, messages: Sequence[Message], policy: PublishPolicy) -> None:
        """Publish messages that are encoded already; see :meth:`send`."""
        # Only called on a running loop, which has imported asyncio long before.
        from asyncio import get_running_loop

        loop = get_running_loop()
        outbox = self._outbox_by_loop.get(loop)
        if outbox is None:
            outbox = self._outbox_by_loop[loop] = _Outbox()
        if outbox.busy:
            entry = _Entry(messages, loop.create_future())
            outbox.waiting.append(entry)
            if not await self._turn(outbox, entry):
                return
        outbox.busy = True
        company = outbox.waiting
        outbox.waiting = []
        try:
            if company:
                await self._send_together(messages, company, policy)
            else:
                await self._deliver(messages, policy)
        finally:
            # Interrupted: what went with us may not be out; the next one sends it (again).
            outbox.waiting[:0] = [entry for entry in company if not entry.turn.done()]
            _pass_on(outbox)

    async def _turn(self, outbox: _Outbox, entry: _Entry) -> bool:
        try:
            return await entry.turn
        finally:
            if entry.turn.cancelled() and entry in outbox.waiting:
                outbox.waiting.remove(entry)

    async def _send_together(
        self, messages: Sequence[Message], company: Sequence[_Entry], policy: PublishPolicy
    ) -> None:
        batch = list(messages)
        for entry in company:
            batch.extend(entry.messages)
        try:
            await self._deliver(batch, policy)
        except BatchError as error:
            own = _share_errors(error, len(messages), company)
            if own:
                raise BatchError(str(error), own) from None
        except BrokerUnavailable as error:
            for entry in company:
                _refuse(entry, error)
            raise
        else:
            for entry in company:
                if not entry.turn.done():
                    entry.turn.set_result(False)

    async def _deliver(self, messages: Sequence[Message], policy: PublishPolicy) -> None:
        if len(messages) <= _BATCH_LIMIT:
            await self._insist(messages, policy)
            return
        refused: dict[int, Exception] = {}
        for start in range(0, len(messages), _BATCH_LIMIT):
            try:
                await self._insist(messages[start : start + _BATCH_LIMIT], policy)
            except BatchError as error:
                refused.update({start + index: why for index, why in error.errors.items()})
        if refused:
            message = f"the broker refused {len(refused)} of {len(messages)} messages"
            raise BatchError(message, refused)

    async def _insist(self, messages: Sequence[Message], policy: PublishPolicy) -> None:
        repetition = 0
        while True:
            try:
                broker = await self._connections.broker()
                await broker.publish(messages)
            except BrokerUnavailable:
                repetition += 1
                if not policy.allows(repetition):
                    raise
                await self._clock.sleep(policy.pause(repetition))
            else:
                return


def _pass_on(outbox: _Outbox) -> None:
    while outbox.waiting:
        entry = outbox.waiting.pop(0)
        if not entry.turn.done():
            # Stays busy: nobody may slip in before the one whose turn it is.
            entry.turn.set_result(True)
            return
    outbox.busy = False


def _share_errors(
    error: BatchError, own_count: int, company: Sequence[_Entry]
) -> dict[int, Exception]:
    start = own_count
    for entry in company:
        end = start + len(entry.messages)
        errors = {i - start: why for i, why in error.errors.items() if start <= i < end}
        if errors:
            _refuse(entry, BatchError(str(error), errors))
        elif not entry.turn.done():
            entry.turn.set_result(False)
        start = end
    return {i: why for i, why in error.errors.items() if i < own_count}


def _refuse(entry: _Entry, error: Exception) -> None:
    if not entry.turn.done():
        entry.turn.set_exception(error)
