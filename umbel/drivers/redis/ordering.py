"""In which order queues are looked into.

Source:
    kombu's transport option ``queue_order_strategy``, and what its three values do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, cast, get_args

from umbel.exceptions import ImproperlyConfigured

__all__ = ["QueueOrder"]

_Strategy = Literal["round_robin", "sorted", "priority"]


class QueueOrder:
    """The order of the queues of one consumer, within each priority of messages.

    >>> order = QueueOrder("round_robin")
    >>> order.served(["a"], order.of(["a", "b"])); order.of(["a", "b"])
    ('b', 'a')
    """

    def __init__(self, strategy: object) -> None:
        """Go by a strategy.

        Args:
            strategy: ``priority``, as they are given; ``sorted``, by name; ``round_robin``, those
                that were served last come last.

        Raises:
            ImproperlyConfigured: It is none of these.
        """
        if strategy not in get_args(_Strategy):
            raise ImproperlyConfigured(
                f"queue_order_strategy is {strategy!r}; it must be 'round_robin', 'sorted' or"
                " 'priority'"
            )
        self._strategy = cast("_Strategy", strategy)
        self._asked: Sequence[str] = ()
        self._turn: tuple[str, ...] = ()

    def of(self, queues: Sequence[str]) -> tuple[str, ...]:
        """The queues in the order in which to look into them now."""
        if self._strategy == "priority" or len(queues) == 1:
            return tuple(queues)
        if self._strategy == "sorted":
            return tuple(sorted(queues))
        if self._asked != queues:
            self._asked, self._turn = queues, tuple(queues)
        return self._turn

    def served(self, queues: Iterable[str], order: tuple[str, ...]) -> None:
        """Note the queues that messages came from, in order."""
        if self._strategy == "round_robin" and len(order) > 1:
            last = dict.fromkeys(queues)
            self._turn = (*(queue for queue in self._turn if queue not in last), *last)
