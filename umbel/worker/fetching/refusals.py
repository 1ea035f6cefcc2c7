"""What was received and does not run."""

from __future__ import annotations

from collections.abc import Sequence

from umbel import signals
from umbel.exceptions import NotRegistered
from umbel.model import Delivery, Request
from umbel.wire import tasks as wire
from umbel.worker import reports
from umbel.worker.fetching.admission import Accepted
from umbel.worker.fetching.known import KnownTasks
from umbel.worker.revoking.revocations import Revocations
from umbel.worker.settling.conclusion import Conclusions
from umbel.worker.settling.finish import Finish

__all__ = ["Refusals"]


class Refusals:
    """Says why, to people and to programs, and has each settled for good with the next batch."""

    def __init__(
        self,
        known: KnownTasks,
        conclusions: Conclusions,
        finish: Finish,
        revocations: Revocations,
    ) -> None:
        self._known = known
        self._conclusions = conclusions
        self._finish = finish
        self._find = revocations.find

    def unreadable(self, delivery: Delivery, error: Exception) -> None:
        """No request could be made of it that may be run."""
        reports.malformed(delivery, str(error))
        if signals.task_rejected.receivers:
            signals.task_rejected.send(sender=self, message=delivery.message, exc=error)
        # It goes nowhere where it would be told from others.
        request = wire.identified(delivery, key=0)
        self._finish.enter([self._conclusions.malformed(delivery, request, error)])

    def unknown(self, request: Request, delivery: Delivery) -> None:
        """No task of that name is registered here."""
        reports.unknown(request)
        if signals.task_unknown.receivers:
            signals.task_unknown.send(
                sender=self,
                message=request.message,
                exc=NotRegistered(request.task),
                name=request.task,
                id=request.id,
            )
        self._finish.enter([self._conclusions.unknown(request, delivery)])

    def expired(self, late: Sequence[Accepted]) -> None:
        """Their time was over before they could start."""
        for accepted in late:
            reports.expired(accepted, self._known.task(accepted.request.task))
        self._finish.enter([self._conclusions.expired(accepted) for accepted in late])

    def revoked(self, revoked: Sequence[Accepted]) -> None:
        """Somebody wants them no more."""
        for accepted in revoked:
            task = self._known.task(accepted.request.task)
            reports.revoked(accepted, task, self._find(accepted.request))
        self._finish.enter([self._conclusions.revoked(accepted) for accepted in revoked])

    def repeated(self, repeats: Sequence[Accepted]) -> None:
        """Another message of the same task is, or was, run."""
        reports.repeated(repeats)
        self._finish.enter([self._conclusions.repeated(accepted) for accepted in repeats])

    def already_successful(self, repeats: Sequence[Accepted]) -> None:
        """They came again, and have succeeded before."""
        reports.already_successful(repeats)
        self._finish.enter([self._conclusions.repeated(accepted) for accepted in repeats])

    def spent(self, spent: Sequence[Accepted]) -> None:
        """They were tried as often as they may be, and each time their worker died."""
        self._finish.enter([self._conclusions.spent(accepted) for accepted in spent])

    def orphaned(self, orphaned: Sequence[tuple[Request, Delivery]]) -> None:
        """Workers that died had begun them: what became of them is said in their stead."""
        options = self._known.of(orphaned)
        self._finish.enter(
            [
                self._conclusions.orphaned(request, delivery, options.get(request.task))
                for request, delivery in orphaned
            ]
        )
