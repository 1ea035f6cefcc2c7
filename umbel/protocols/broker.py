"""What a broker must do.

Every broker in ``umbel.drivers`` passes ``umbel.testing.conformance.broker``; what the
suite does not check, the worker must not rely on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec

from umbel.model import (
    Arrival,
    Composed,
    Delivery,
    FullChord,
    Message,
    Queue,
    QueueStats,
    Settlement,
)
from umbel.protocols.backend import ResultBackend

__all__ = [
    "Broker",
    "Capabilities",
    "Compose",
    "HangsByALine",
    "KnowsHolders",
    "Lifeline",
    "Pushes",
    "TellsTime",
    "Transactional",
]

Compose = Callable[[Arrival, FullChord], Composed]
"""What becomes of a full chord: its body, or the failure of its body. Pure."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker can do by itself; the suite tests every claim, the worker fills every gap."""

    batch_limit: int = 1000
    """Most items one call may carry; callers split, brokers do not."""
    lease: float | None = None
    """Seconds a delivery is ours unless extended; None: as long as the connection lives."""
    delay: bool = False
    """Honours ``Message.not_before`` and ``nack(delay=...)``."""
    delayed_apart: bool = False
    """What is delayed waits outside of its queue, where ``purge`` and ``stats`` do not see it."""
    priority: Literal["none", "high-first", "low-first"] = "none"
    """Which end of ``Message.priority`` is handed out first (Celery on Redis: low)."""
    ordered: bool = False
    """First in, first out within one queue and priority, while there is one consumer."""
    wakeup: bool = False
    """``receive`` returns as soon as a message arrives, without polling."""


class Broker(Protocol):
    """Carries messages from producers to workers, each at least once.

    Every operation takes a batch. All methods are safe to cancel: a cancelled call has
    either happened or not, which the next call of the instance finds decided, and no message
    is lost or left without a lease. Calls may overlap on one event loop; an instance belongs
    to one loop.

    Raises (all methods):
        BrokerUnavailable: No connection, after the driver's own reconnection gave up.
            Nothing is known about the batch; the caller may repeat it.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def open(self) -> None:
        """Connect. Idempotent."""

    async def close(self) -> None:
        """Give back every unsettled delivery, then disconnect. Idempotent."""

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Make the queues and their bindings exist. Idempotent.

        Raises:
            QueueConflict: A queue of that name exists with other properties.
        """

    async def publish(self, messages: Sequence[Message]) -> None:
        """Accept the messages for safe keeping; returns once the broker has confirmed them.

        Raises:
            BatchError: Some were refused; ``errors`` maps index to reason, the rest are in.
        """

    async def receive(self, queues: Sequence[str], *, limit: int, wait: float) -> list[Delivery]:
        """Lease up to ``limit`` messages, the first queue first.

        Taking a message and recording its lease is one atomic step.

        Args:
            wait: Seconds to wait for the first one. Returns as soon as there is any.
        """
        ...

    async def begin(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Never deliver the messages as work again; returns those whose lease had already been
        lost. Idempotent.

        They stay leased until they are settled. Should their holder die before that, each is
        handed out once more, to any consumer of its queue, as ``Delivery(begun=True)``: so that
        whoever gets it can record the loss. ``nack(requeue=True)`` makes them work again.
        """
        ...

    async def start(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Note that messages whose holder has died before (``attempt`` above 1; where leases last
        as long as the connection, all that are ``redelivered``) are about to be run: should their
        holder die again, it counts. Returns those already lost. Idempotent.

        So a message that was merely near to one that kills its workers is not taken for it.
        """
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Forget the messages for good; returns those whose lease had already been lost.

        A lost lease never touches a message that someone else now holds.
        """
        ...

    async def nack(
        self,
        deliveries: Sequence[Delivery],
        *,
        requeue: bool = True,
        delay: float = 0.0,
        counts: bool = False,
        reason: str = "",
    ) -> list[Delivery]:
        """Give the messages back, or drop them among the dead letters.

        Args:
            delay: Seconds until what is given back is visible.
            counts: What is given back has used up an attempt; otherwise the next delivery's
                ``attempt`` is the same.
            reason: Why they are dropped, for whoever finds them.

        Returns:
            Those whose lease had already been lost.
        """
        ...

    async def extend(self, deliveries: Sequence[Delivery], *, lease: float) -> list[Delivery]:
        """Hold on to the messages for ``lease`` seconds from now; returns those already lost."""
        ...

    async def purge(self, queues: Sequence[str]) -> int:
        """Drop every message nobody holds; returns how many."""
        ...

    async def stats(self, queues: Sequence[str]) -> dict[str, QueueStats]:
        """Ready, leased and delayed messages per queue; for people, not for decisions."""
        ...


@runtime_checkable
class Pushes(Protocol):
    """A broker whose server sends messages before they are received."""

    async def rest(self) -> None:
        """Nobody will receive for a while: what has come and was not received yet goes back, and
        no more comes until the next ``receive``. Idempotent; cheap when there is nothing."""


@runtime_checkable
class KnowsHolders(Protocol):
    """A broker whose leases say whose they are: another client can renew them for a holder that
    cannot do it itself just now."""

    @property
    def holder(self) -> str:
        """Whose the leases are that this client takes: a name that no other client has."""
        ...

    async def extend_all(self, holder: str, queues: Sequence[str], *, lease: float) -> int:
        """Hold on to all that a client has on loan of these queues, begun or not, for ``lease``
        seconds from now; returns how many. What it has settled, given back or lost stays so.

        Not in one step: what is settled meanwhile may or may not be counted.
        """
        ...


@runtime_checkable
class TellsTime(Protocol):
    """A broker with a clock of its own, by which tasks are due and expire for all its clients."""

    @property
    def skew(self) -> float:
        """Seconds by which its clock is ahead of this machine's, as far as is known; 0.0 while what
        is known cannot tell the two apart."""
        ...


class Lifeline(msgspec.Struct, frozen=True):
    """A connection that must not be silent for long."""

    number: int
    """Another one for each connection of this process."""
    fd: int
    beat: bytes
    """What says that this end lives; whatever has been sent before, it may be sent after it."""


@runtime_checkable
class HangsByALine(Protocol):
    """A broker whose leases last as long as a connection, on which another process can say for
    this one that it lives."""

    @property
    def silence(self) -> float:
        """Seconds that the connection may be silent before the server may give it up; 0: it may be
        for ever."""
        ...

    async def secure(self) -> None:
        """Connect, so that there is a lifeline before there is a message."""

    @property
    def lifeline(self) -> Lifeline | None:
        """The connection as it is now; None: there is none, it may be silent, it is encrypted, or
        something is half sent."""
        ...


@runtime_checkable
class Transactional(Protocol):
    """A broker that can commit together with a result backend in the same database."""

    def commits_with(self, backend: ResultBackend) -> bool: ...

    async def settle(
        self, settlements: Sequence[Settlement], *, compose: Compose
    ) -> list[Delivery]:
        """Publish, store, count and acknowledge in one transaction.

        A settlement whose lease was lost has no effect at all, and is returned.
        """
        ...
