"""Stop 2 of a task's way: calls become messages, and messages are published in batches.

Calls that arrive on a loop while a batch is under way gather, and go out together as the next
one: a batch of one when it is quiet, of thousands when it is not, and never a wait for company.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import msgspec

from umbel.app.sending import announce
from umbel.exceptions import BatchError, BrokerBlocked, BrokerUnavailable
from umbel.signals import after_task_publish, before_task_publish, task_sent
from umbel.wire import tasks

if TYPE_CHECKING:
    import asyncio

    from umbel.app.sending.sent_events import SentEvents
    from umbel.model import Message, Queue
    from umbel.protocols import Broker, Clock
    from umbel.wire.call import Call

__all__ = ["NO_RETRY", "Producer", "PublishPolicy"]


class PublishPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
    retry_errors: Any = None
    """Accepted for Celery's sake; whatever keeps the broker from being reached is tried again."""

    @classmethod
    def of(cls, retry: bool, policy: Mapping[str, Any] | None) -> PublishPolicy:
        """The policy that the options ``retry`` and ``retry_policy`` ask for.

        Raises:
            ValueError: ``policy`` has other fields, or other values, than a policy can have.
        """
        if not retry:
            return NO_RETRY
        try:
            return msgspec.convert(dict(policy or {}), cls)
        except msgspec.ValidationError as error:
            message = f"retry_policy={policy!r} is not a policy: {error}"
            raise ValueError(message) from None

    def pause(self, repetition: int) -> float:
        """Seconds to wait before repetition ``repetition``, counted from 1."""
        return min(self.interval_start + self.interval_step * (repetition - 1), self.interval_max)

    def allows(self, repetition: int) -> bool:
        """Whether repetition ``repetition`` may be made."""
        return self.max_retries is None or repetition <= self.max_retries


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

    def __init__(
        self,
        connections: _Clients,
        clock: Clock,
        undeclared: dict[str, list[Queue]] | None = None,
        sent: SentEvents | None = None,
    ) -> None:
        """Publish through ``connections``.

        Args:
            undeclared: By exchange, the queues to declare before the first message goes out to
                it; they are taken out then.
            sent: Tells of what was sent, if the settings want it.
        """
        self._sent = sent
        self._sure_of: object = None
        """The version of the settings whose result backend can be used."""
        self._connections = connections
        self._clock = clock
        self._undeclared: dict[str, list[Queue]] = {} if undeclared is None else undeclared
        self._outbox_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Outbox] = (
            WeakKeyDictionary()
        )

    async def send(self, calls: Sequence[Call], policy: PublishPolicy) -> None:
        """Publish the calls; returns once the broker has confirmed them.

        Raises:
            OperationalError: The broker could not be reached within ``policy``, or refused.
            ImproperlyConfigured: Results are to be kept, and there is no such result backend.
        """
        sent = self._sent
        if sent is not None and self._sure_of is not sent.conf.version:
            self._see_to_results(calls, sent)
        messages = self.encode(calls, policy)
        # What publish() does with so few of them, without the call: it is on every task's way.
        if len(messages) <= _BATCH_LIMIT:
            await self._insist(messages, policy)
        else:
            await self.publish(messages, policy)
        if (
            after_task_publish.receivers
            or task_sent.receivers
            or (sent is not None and sent.conf.task_send_sent_event)
        ):
            await self.announce(calls, messages)

    def _see_to_results(self, calls: Sequence[Call], sent: SentEvents) -> None:
        # Who sends tasks without results needs no backend; the others would learn it from get().
        if not all(call.ignore_result for call in calls):
            sent.app.require_results()
            self._sure_of = sent.conf.version

    async def announce(self, calls: Sequence[Call], messages: Sequence[Message]) -> None:
        """Tell the receivers of ``after_task_publish`` what has been published."""
        if after_task_publish.receivers or task_sent.receivers:
            announce.after(calls, messages)
        if self._sent is not None and self._sent.conf.task_send_sent_event:
            await self._sent.tell(calls, messages)

    def encode(self, calls: Sequence[Call], policy: PublishPolicy) -> list[Message]:
        """The calls' messages, as ``before_task_publish`` leaves them."""
        encode = tasks.encode
        messages = [encode(call) for call in calls]
        if before_task_publish.receivers:
            retry_policy = msgspec.structs.asdict(policy)
            messages = [
                announce.before(call, message, retry_policy)
                for call, message in zip(calls, messages, strict=True)
            ]
        # Loaded where somebody has asked for it: only they can have replaced it.
        kombus = sys.modules.get("umbel.app.connecting.publishing")
        if kombus is not None and kombus.Producer.publish is not kombus.OWN_PUBLISH and self._sent:
            messages = kombus.passed(self._sent.app, messages, policy)
        return messages

    async def publish(self, messages: Sequence[Message], policy: PublishPolicy) -> None:
        """Publish messages that are encoded already; see :meth:`send`."""
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
        # Everyone repeats by their own policy, and joins whatever batch goes out then.
        repetition = 0
        while True:
            try:
                if self._undeclared:
                    await self._declare(messages)
                await self._join(messages)
            except BrokerUnavailable as error:
                repetition += 1
                if not policy.allows(repetition):
                    raise
                if isinstance(error, BrokerBlocked) and policy.max_retries is not None:
                    # Its driver has waited as long as a publish may take.
                    raise
                await self._clock.sleep(policy.pause(repetition))
            else:
                return

    async def _declare(self, messages: Sequence[Message]) -> None:
        for exchange in {message.exchange for message in messages}:
            queues = self._undeclared.get(exchange)
            if queues is not None:
                await (await self._connections.broker()).declare(queues)
                self._undeclared.pop(exchange, None)

    async def _join(self, messages: Sequence[Message]) -> None:
        """Publish once, alone or in company."""
        # Only called on a running loop, which has imported asyncio long before.
        import asyncio

        loop = asyncio.get_running_loop()
        outbox = self._outbox_by_loop.get(loop)
        if outbox is None:
            outbox = self._outbox_by_loop[loop] = _Outbox()
        if outbox.busy:
            entry = _Entry(messages, loop.create_future())
            outbox.waiting.append(entry)
            if not await _turn(outbox, entry):
                return
        outbox.busy = True
        company = _company(outbox, _BATCH_LIMIT - len(messages)) if outbox.waiting else ()
        try:
            broker = await self._connections.broker()
            if company:
                await _publish_together(broker, messages, company)
            else:
                await broker.publish(messages)
        except Exception as error:
            for entry in company:
                _refuse(entry, error)
            raise
        finally:
            # Interrupted: what went with us may not be out; the next one sends it (again).
            outbox.waiting[:0] = [entry for entry in company if not entry.turn.done()]
            _pass_on(outbox)


async def _turn(outbox: _Outbox, entry: _Entry) -> bool:
    try:
        return await entry.turn
    except BaseException:
        turn = entry.turn
        # Cancelled in the very step in which its turn came: others still wait for theirs.
        if not turn.cancelled() and turn.exception() is None and turn.result():
            _pass_on(outbox)
        raise


def _company(outbox: _Outbox, room: int) -> list[_Entry]:
    """Take those along that wait, as many as fit."""
    company: list[_Entry] = []
    taken = 0
    for entry in outbox.waiting:
        if not entry.turn.done():
            room -= len(entry.messages)
            if room < 0:
                break
            company.append(entry)
        taken += 1
    del outbox.waiting[:taken]
    return company


async def _publish_together(
    broker: Broker, messages: Sequence[Message], company: Sequence[_Entry]
) -> None:
    batch = list(messages)
    for entry in company:
        batch.extend(entry.messages)
    try:
        await broker.publish(batch)
    except BatchError as error:
        own = _share_errors(error, len(messages), company)
        if own:
            raise BatchError(str(error), own) from None
    else:
        for entry in company:
            if not entry.turn.done():
                entry.turn.set_result(False)


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
