"""What RabbitMQ believes that we hold, and the receipts that callers have for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from umbel.drivers.rabbitmq.windows import Window
from umbel.model import Delivery

__all__ = ["Ledger"]

_MOST_SURVIVED = 10_000


class Ledger:
    """By delivery tag, for one channel after the other.

    Receipts name the channel that a message came over: what came over a channel that is closed is
    lost, because RabbitMQ has given it back.

    Args:
        name: Of the consumer; the same for nobody else.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._epoch = 0
        self.prefix = ""
        """Of the receipts for what comes over the channel of now."""
        self.held: dict[int, Window] = {}
        """In the order they came: what waits here, and what callers have."""
        self.handed_out: dict[int, Delivery] = {}
        """What callers have."""
        self.unclear: set[int] = set()
        """What RabbitMQ has handed out before, to whoever, that did not say what became of it."""
        self._survived: dict[str, None] = {}
        # The ids of what was held here when a connection broke, the latest last: RabbitMQ hands it
        # out again as it does after a death, and we live.
        self._turns: dict[int, int] = {}
        # By delivery tag, how often what is held was handed out again from here.

    @property
    def oldest(self) -> int | None:
        """The lowest delivery tag that is held."""
        return next(iter(self.held), None)

    @property
    def latest(self) -> tuple[str, int]:
        """The channel of now, and the last delivery tag that came over it."""
        return self.prefix, max(self.held, default=0)

    def begin(self) -> None:
        """There is a new channel."""
        self.forget()
        self._epoch += 1
        self.prefix = f"{self._name}.{self._epoch}."

    def survive(self, ids: Iterable[str]) -> None:
        """The channel broke under us with messages of these ids, as well as what callers have."""
        survived = self._survived
        clear = [each for tag, each in self.handed_out.items() if tag not in self.unclear]
        for id_ in (*ids, *(each.message.id for each in clear)):
            survived[id_] = None
        while len(survived) > _MOST_SURVIVED:
            del survived[next(iter(survived))]

    def forget(self) -> None:
        """The channel is closed: nothing is held any more."""
        self.held.clear()
        self.handed_out.clear()
        self.unclear.clear()
        self._turns.clear()

    def number(self, delivery: Delivery) -> int:
        """The delivery tag; -1 when it came over a channel that is closed, or was handed out again
        since."""
        prefix = self.prefix
        tag = delivery.tag
        if not prefix or not tag.startswith(prefix):
            return -1
        tail = tag[len(prefix) :]
        if not self._turns:
            return int(tail) if "/" not in tail else -1
        number, _, turn = tail.partition("/")
        return int(number) if self._turns.get(int(number), 0) == int(turn or 0) else -1

    def lost(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those that are not ours any more."""
        held, prefix = self.held, self.prefix
        if self._turns or not prefix:
            return [each for each in deliveries if self.number(each) not in held]
        # The same, without a call each.
        at = len(prefix)
        return [
            each
            for each in deliveries
            if not (tag := each.tag).startswith(prefix)
            or not (number := tag[at:]).isdecimal()
            or int(number) not in held
        ]

    def release(self, deliveries: Sequence[Delivery]) -> tuple[list[int], list[Delivery]]:
        """Strike out what is about to be settled: its delivery tags, and what was lost before."""
        held, handed_out = self.held, self.handed_out
        numbers: list[int] = []
        lost: list[Delivery] = []
        for delivery in deliveries:
            number = self.number(delivery)
            window = held.pop(number, None)
            if window is None:
                lost.append(delivery)
            else:
                window.used -= 1
                handed_out.pop(number, None)
                numbers.append(number)
        if self.unclear:
            self.unclear.difference_update(numbers)
        if self._turns:
            for number in numbers:
                self._turns.pop(number, None)
        return numbers, lost

    def drop(self, number: int) -> bool:
        """Strike out one by its delivery tag; whether it was there."""
        window = self.held.pop(number, None)
        if window is None:
            return False
        window.used -= 1
        self.unclear.discard(number)
        return True

    def turn(self, delivery: Delivery) -> Delivery | None:
        """What is handed out for the same message next time: the old receipt is void from now on.

        None when it was lost before.
        """
        number = self.number(delivery)
        if number not in self.held:
            return None
        self.handed_out.pop(number, None)
        turn = self._turns[number] = self._turns.get(number, 0) + 1
        return msgspec.structs.replace(
            delivery, tag=f"{self.prefix}{number}/{turn}", redelivered=True
        )

    def deaths(self, delivery: Delivery) -> int:
        """How many deaths it is should its holder die: two, where the one before has perhaps died
        as well, and said nothing; 0: nobody has died of it so far."""
        if delivery.attempt > 1:
            return 1
        number = self.number(delivery)
        if number not in self.unclear:
            return 0
        if delivery.message.id in self._survived:
            # We had it before.
            del self._survived[delivery.message.id]
            self.unclear.discard(number)
            return 0
        return 2

    def count(self, queue: str) -> int:
        """How many messages of a queue are held."""
        return sum(window.queue == queue for window in self.held.values())
