"""The states of a task, as Celery names and ranks them.

Source:
    Celery reference, ``celery.states``.
"""

from __future__ import annotations

__all__ = [
    "ALL_STATES",
    "EXCEPTION_STATES",
    "FAILURE",
    "IGNORED",
    "PENDING",
    "PROPAGATE_STATES",
    "READY_STATES",
    "RECEIVED",
    "REJECTED",
    "RETRY",
    "REVOKED",
    "STARTED",
    "SUCCESS",
    "UNREADY_STATES",
    "finality",
    "precedence",
    "state",
]

PENDING = "PENDING"
"""Waiting, or unknown: nothing is stored about the task."""
RECEIVED = "RECEIVED"
"""A worker has the task (seen in events only)."""
STARTED = "STARTED"
"""The task runs; stored only with ``track_started``."""
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
REJECTED = "REJECTED"
"""The task was rejected (seen in events only)."""
RETRY = "RETRY"
"""The task failed and waits for its next attempt."""
IGNORED = "IGNORED"

READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = frozenset({PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, REVOKED})

_PRECEDENCE = (SUCCESS, FAILURE, None, REVOKED, STARTED, RECEIVED, REJECTED, RETRY, PENDING)
_RANK_BY_STATE = {name: rank for rank, name in enumerate(_PRECEDENCE)}
_CUSTOM_RANK = _PRECEDENCE.index(None)


def precedence(state: str) -> int:
    """The rank of a state: the lower, the more final; custom states come after FAILURE.

    >>> precedence("SUCCESS") < precedence("FAILURE") < precedence("PROGRESS")
    True
    """
    return _RANK_BY_STATE.get(state, _CUSTOM_RANK)


def finality(state: str) -> int:
    """How final a stored state is: the lower, the more. A record gives way to one that is as
    final as it is, or more.

    Ready states rank as :func:`precedence` has them. All others are equally far from final: a
    task that was started may wait for its next attempt, one that reported progress may be
    revoked.

    >>> finality("SUCCESS") < finality("REVOKED") < finality("PROGRESS") == finality("RETRY")
    True
    """
    return _RANK_BY_STATE[state] if state in READY_STATES else len(_PRECEDENCE)


class state(str):  # noqa: N801 - Celery's documented name
    """A state that compares by rank: ``state("PENDING") < state("SUCCESS")``.

    >>> state("PROGRESS") > state("STARTED")
    True
    """

    __slots__ = ()

    def __gt__(self, other: str) -> bool:
        return precedence(self) < precedence(other)

    def __ge__(self, other: str) -> bool:
        return precedence(self) <= precedence(other)

    def __lt__(self, other: str) -> bool:
        return precedence(self) > precedence(other)

    def __le__(self, other: str) -> bool:
        return precedence(self) >= precedence(other)
