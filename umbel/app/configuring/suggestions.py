"""Did you mean …?"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["closest", "did_you_mean", "misspelt"]

_LETTERS_PER_SLIP = 7
"""A name of so many letters may have one slip and still be taken for another; of twice as many,
two."""
_MOST_SLIPS = 3
_SHORTEST = 5
"""Letters of the shortest name that is looked at: shorter ones are alike by chance."""
_WORDS_TO_MISS_ONE = 4
"""Names of so many words are recognised with one of them left out."""


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


def misspelt(word: str, known: Iterable[str]) -> str | None:
    """The known name that ``word`` is a misspelling of, if it is one.

    Stricter than :func:`closest`: some letters wrong, the words in another order, or one of many
    left out; not merely alike, as names of one's own may be.

    >>> known = ["task_acks_late"]
    >>> misspelt("task_ack_late", known), misspelt("late_acks_task", known)
    ('task_acks_late', 'task_acks_late')
    >>> misspelt("worker_tasks_per_child", ["worker_max_tasks_per_child"])
    'worker_max_tasks_per_child'
    >>> misspelt("result_backend_url", ["result_backend"]), misspelt("beat_dburi", ["beat_uid"])
    (None, None)
    """
    if len(word) < _SHORTEST:
        return None
    words = word.split("_")
    allowed = min(_MOST_SLIPS, max(1, len(word) // _LETTERS_PER_SLIP))
    best: tuple[int, str] | None = None
    for name in known:
        if abs(len(name) - len(word)) <= allowed:
            slips = _slips(word, name, allowed)
            if slips <= allowed and (best is None or slips < best[0]):
                best = (slips, name)
    if best is not None:
        return best[1]
    return next((name for name in known if _has_words(name.split("_"), words)), None)


def _has_words(theirs: list[str], ours: list[str]) -> bool:
    if len(theirs) >= _WORDS_TO_MISS_ONE and len(theirs) == len(ours) + 1:
        return any(theirs[:place] + theirs[place + 1 :] == ours for place in range(len(theirs)))
    return sorted(theirs) == sorted(ours)


def _slips(one: str, other: str, limit: int) -> int:
    """How many letters are wrong, missing, too many, or changed places; more than ``limit`` is
    only said to be more."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        last, before, row = before, row, [i]
        for j, its in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != its))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == its:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return row[-1]
