"""The end of a request: what it asks of the outside world, done in batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import msgspec

from umbel.app.sending.ids import new_id
from umbel.exceptions import BatchError, BrokerUnavailable
from umbel.model import Delivery, Message, Nack, ResultRecord, Settlement
from umbel.protocols import Broker, Compose, ResultBackend, Transactional
from umbel.states import READY_STATES, SUCCESS
from umbel.wire.headers import AGAIN, with_publication
from umbel.worker.settling.account import Account
from umbel.worker.settling.batches import in_batches
from umbel.worker.settling.chords import Chords, composing
from umbel.worker.settling.patience import Patience
from umbel.worker.settling.siding import SOON, Siding
from umbel.worker.settling.storing import Storing

__all__ = ["Settler"]

logger = logging.getLogger(__name__)


def settled_as(settlement: Settlement, found: ResultRecord | None) -> Settlement:
    """What is to happen for a task whose worker died, if ``found`` is stored of it: where it had
    ended, its callbacks are on their way (they are published before), and its chord, at which it
    arrives after it is stored, may not have heard of it."""
    if found is None or found.state not in READY_STATES:
        return settlement
    own = [
        msgspec.structs.replace(arrival, record=found)
        for arrival in settlement.arrivals
        if arrival.record.id == found.id
    ]
    others = [arrival for arrival in settlement.arrivals if arrival.record.id != found.id]
    return Settlement(
        delivery=settlement.delivery,
        verdict=settlement.verdict,
        arrivals=tuple(own if found.state == SUCCESS else own + others),
    )


def _follow_ups(settlement: Settlement) -> Sequence[Message]:
    """What follows a task; saying so if that may have been published before, by a worker that died
    before it acknowledged."""
    delivery = settlement.delivery
    if delivery is None:
        return settlement.publish
    if not delivery.redelivered and delivery.attempt == 1:
        return settlement.publish
    own = delivery.message.id
    # Another try of the task, or what takes its place, has its id, and maybe a result of its own.
    return [
        each if each.id == own else with_publication(each, AGAIN) for each in settlement.publish
    ]


def _destinations(settlement: Settlement) -> Collection[Hashable]:
    return {(each.exchange, each.routing_key) for each in settlement.publish}


def _all_alike(_: Settlement) -> Collection[Hashable]:
    return (None,)


def _without(
    settlements: Sequence[Settlement], needing: Sequence[Settlement], through: Sequence[Settlement]
) -> Sequence[Settlement]:
    """``settlements`` but for those of ``needing`` that are not among ``through``."""
    if len(through) == len(needing):
        return settlements
    left = set(map(id, needing)).difference(map(id, through))
    return [settlement for settlement in settlements if id(settlement) not in left]


class Settler:
    """Publishes, stores, counts and acknowledges: each task in that order, so that a crash repeats
    work and loses none. Follow-up messages carry ids fixed when the canvas was built, so a repeat
    is recognisable.

    Where broker and result backend can commit together, they do. Where not, what the broker does
    not take for a while (it is short of memory, a queue has no leader) holds up the tasks that it
    is about, and no others: :class:`umbel.worker.settling.siding.Siding`.
    """

    def __init__(
        self,
        broker: Broker,
        backend: ResultBackend,
        *,
        compose: Compose,
        patience: Patience,
        settling: Callable[[Sequence[Delivery]], AbstractContextManager[None]],
        fence: Callable[[Sequence[Settlement]], Awaitable[Sequence[Settlement]]],
        account: Account,
        failed: Callable[[str, Exception], ResultRecord],
        storing: Patience | None = None,
        soon: float = SOON,
    ) -> None:
        """Make one.

        Args:
            failed: The FAILURE of the task of that id; stored where its result cannot be.
            storing: The patience for a result backend that is away; None: the same.
            settling: Entered while deliveries are acknowledged or given back.
            fence: Which settlements are still ours; asked again before what has waited is stored.
            account: Told of what is settled, and of what is stuck.
            soon: Seconds that everything waits for what only some tasks need.
        """
        self._broker = broker
        self._backend = backend
        # It reads what users' tasks have returned: whatever that raises must not end the worker.
        self._compose = composing(compose)
        self._chords = Chords(
            backend, self.publish, compose=self._compose, patience=patience, new_id=new_id
        )
        self._insist = patience
        self._store = Storing(backend, storing or patience, fence=fence, failed=failed)
        self._settling = settling
        self._account = account
        self._limit = broker.capabilities.batch_limit
        siding = partial(Siding, account=account, fence=fence, soon=soon)
        self._sending = siding(self._send, self._after_sending, ways=_destinations)
        self._counting = siding(self._count, self._acknowledge, ways=_all_alike)
        self._refusing = siding(self._refuse, self._nothing_more, ways=_all_alike)
        # One attribute for the question and for what makes sense only after a yes.
        self._together: Transactional | None = None
        if isinstance(broker, Transactional) and broker.commits_with(backend):
            self._together = broker

    async def run(self) -> None:
        """See to what is stuck until cancelled."""
        async with asyncio.TaskGroup() as group:
            for siding in (self._sending, self._counting, self._refusing):
                group.create_task(siding.run())

    async def until_idle(self) -> None:
        """Wait until nothing is stuck."""
        # In this order they pass from one to the next.
        for siding in (self._sending, self._counting, self._refusing):
            await siding.until_idle()

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Settle; returns when all is done, or is stuck.

        Repeats what fails because a server is away.
        """
        for part in in_batches(settlements, self._limit):
            batch = part
            if any([settlement.doubtful for settlement in batch]):  # noqa: C419 - no call each
                batch = await self._without_doubt(batch)
            if self._together is not None:
                await self._settle_together(self._together, batch)
            else:
                await self._settle_in_order(batch)

    async def publish(self, messages: Sequence[Message]) -> list[Exception]:
        """Publish; what the broker refuses for good is reported and left out. Returns why."""
        reasons: list[Exception] = []
        for batch in in_batches(messages, self._limit):
            rest: Sequence[Message] = batch
            while rest:
                rest = await self._publish(rest, reasons)
        return reasons

    async def _publish(self, batch: Sequence[Message], reasons: list[Exception]) -> list[Message]:
        """Publish once; returns what was refused and may be accepted another time: never all of
        it, because then the broker is away, and is waited for."""
        try:
            await self._insist(self._broker.publish, batch)
        except BatchError as error:
            again: list[Message] = []
            for index, reason in error.errors.items():
                if isinstance(reason, BrokerUnavailable):
                    again.append(batch[index])
                else:
                    reasons.append(reason)
                    logger.error(  # noqa: TRY400 - the reasons say it all
                        "The broker refused message %r for %r: %s",
                        batch[index].id,
                        batch[index].routing_key,
                        reason,
                    )
            return again
        return []

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Let other workers have the messages, at once."""
        with self._settling(deliveries):
            for batch in in_batches(deliveries, self._limit):
                await self._insist(self._broker.nack, batch)

    async def _settle_together(
        self, broker: Transactional, settlements: Sequence[Settlement]
    ) -> None:
        with self._settling([s.delivery for s in settlements if s.delivery is not None]):
            try:
                lost = await self._insist(broker.settle, settlements, compose=self._compose)
            except BatchError:
                # Something to publish was refused, so nothing happened: what can be done is done
                # step by step, and what cannot is reported there.
                await self._settle_in_order(settlements)
            else:
                self._account.settled(settlements, lost)

    async def _settle_in_order(self, settlements: Sequence[Settlement]) -> None:
        needing = [each for each in settlements if each.publish or each.expect]
        if needing:
            through = await self._sending.take(needing)
            settlements = _without(settlements, needing, through)
        await self._after_sending(settlements, waited=bool(needing))

    async def _send(self, settlements: Sequence[Settlement]) -> None:
        expected = [each for settlement in settlements for each in settlement.expect]
        if expected:
            await self._chords.expect(expected)
        messages = [each for settlement in settlements for each in _follow_ups(settlement)]
        if messages:
            await self.publish(messages)

    async def _after_sending(
        self, settlements: Sequence[Settlement], *, waited: bool = True
    ) -> None:
        if any([s.record is not None or s.tail for s in settlements]):  # noqa: C419 - no call each
            settlements = await self._store(settlements, waited=waited)
        needing = [each for each in settlements if each.arrivals]
        if needing:
            through = await self._counting.take(needing)
            settlements = _without(settlements, needing, through)
        await self._acknowledge(settlements)

    async def _count(self, settlements: Sequence[Settlement]) -> None:
        await self._chords.complete([each for one in settlements for each in one.arrivals])

    async def _without_doubt(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """The same, with what is stored of tasks whose workers have died."""
        ids = [s.delivery.message.id for s in settlements if s.doubtful and s.delivery is not None]
        try:
            found = await self._insist(self._backend.load, ids)
        except NotImplementedError:
            found = {}
        return [
            settled_as(settlement, found.get(settlement.delivery.message.id))
            if settlement.doubtful and settlement.delivery is not None
            else settlement
            for settlement in settlements
        ]

    async def _acknowledge(self, settlements: Sequence[Settlement]) -> None:
        refused = [each for each in settlements if each.verdict.__class__ is Nack]
        if refused:
            settlements = _without(settlements, refused, ())
        done = [each.delivery for each in settlements if each.delivery is not None]
        lost: list[Delivery] = []
        if done:
            with self._settling(done):
                lost = await self._insist(self._broker.ack, done)
        if settlements:
            self._account.settled(settlements, lost)
        if refused:
            await self._refusing.take(refused)

    async def _refuse(self, settlements: Sequence[Settlement]) -> None:
        """Give messages back, or drop them: among the dead letters, which are messages too."""
        refused: dict[Nack, list[Delivery]] = {}
        for settlement in settlements:
            if settlement.delivery is not None and isinstance(settlement.verdict, Nack):
                refused.setdefault(settlement.verdict, []).append(settlement.delivery)
        lost: list[Delivery] = []
        for nack, deliveries in refused.items():
            with self._settling(deliveries):
                lost += await self._insist(
                    self._broker.nack,
                    deliveries,
                    requeue=nack.requeue,
                    delay=nack.delay,
                    counts=nack.counts,
                    reason=nack.reason,
                )
        self._account.settled(settlements, lost)

    async def _nothing_more(self, settlements: Sequence[Settlement]) -> None:
        """After what was refused: that was the last step."""
