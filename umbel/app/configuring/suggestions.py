"""Did you mean …?"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["closest", "did_you_mean"]


def closest(word: str, known: Iterable[str], *, count: int = 1, cutoff: float = 0.75) -> list[str]:
    """The known words most like ``word``, best first; none that is not much like it.

    >>> closest("task_ack_late", ["task_acks_late", "task_queues"])
    ['task_acks_late']
    """
    # Only mistakes need it; difflib costs 4 ms to import.
    from difflib import get_close_matches

    return get_close_matches(word, list(known), count, cutoff)


def did_you_mean(word: str, known: Iterable[str], *, count: int = 1) -> str:
    """A question to end an error message with, or nothing; begins with a space.

    >>> did_you_mean("wroker", ["worker", "call"])
    " Did you mean 'worker'?"
    """
    found = closest(word, known, count=count)
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""
