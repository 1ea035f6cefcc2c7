"""What becomes of a message once its task has run."""

from __future__ import annotations

from typing import Protocol, assert_never

from umbel.model import (
    Ack,
    Failed,
    Ignored,
    Nack,
    Outcome,
    Rejected,
    Retried,
    Revoked,
    Succeeded,
)

__all__ = ["AckOptions", "verdict"]

# Shared: verdicts are values without a life of their own, and almost all are the first one.
_DONE = Ack()
_GIVE_BACK = Nack(requeue=True)
_TRY_AGAIN = Nack(requeue=True, counts=True)
_DROP = Nack(requeue=False)


class AckOptions(Protocol):
    """The part of ``TaskOptions`` that decides."""

    @property
    def acks_on_failure(self) -> bool:
        """Whether a task that raised is done with."""
        ...

    @property
    def acks_on_timeout(self) -> bool:
        """Whether a task that overran its hard time limit is done with."""
        ...

    @property
    def reject_on_worker_lost(self) -> bool:
        """Whether a task whose process is gone runs again."""
        ...


def verdict(outcome: Outcome, options: AckOptions) -> Ack | Nack:
    """Acknowledge, give back, or drop. Only for ``acks_late``; otherwise it is too late to ask.

    A message that is given back leaves no result and publishes nothing: it will run again.

    Source:
        Celery user guide, Tasks, ``Task.acks_late`` and the three options after it.
    """
    match outcome:
        case Succeeded() | Retried() | Ignored() | Revoked():
            return _DONE
        case Failed(cause="worker-lost") if options.reject_on_worker_lost:
            return _TRY_AGAIN
        case Failed(cause="time-limit"):
            return _DONE if options.acks_on_timeout else _TRY_AGAIN
        case Failed():
            return _DONE if options.acks_on_failure else _DROP
        case Rejected(requeue=requeue):
            return _GIVE_BACK if requeue else _DROP
        case _:
            assert_never(outcome)
