"""What the end of a child costs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from umbel.model import Outcome, Request
from umbel.pools.prefork.kin import Kin
from umbel.pools.prefork.member import Member
from umbel.pools.prefork.process import exit_reason
from umbel.pools.verdicts import cancelled, lost, overdue

__all__ = ["outcomes_of_end", "report_end"]

logger = logging.getLogger(__name__)


def report_end(member: Kin, name: str, status: int | None) -> str:
    """Write into the log how the process ended, and what it had to say; returns the reason."""
    reason = exit_reason(status)
    words = member.words()
    if member.retiring and status == 0:
        logger.debug("Process %r pid:%s exited with %r", name, member.pid, reason)
        return reason
    logger.error("Process %r pid:%s exited with %r", name, member.pid, reason)
    if words:
        logger.error("Process %r said: %s", name, words)
        # One line is a reason; more is the stack of a crash.
        reason = reason if "\n" in words else f"{reason}: {words}"
    return reason


def outcomes_of_end(
    member: Member, started: Sequence[Request], reason: str, *, runtime: float, signalled: bool
) -> list[Outcome]:
    """What becomes of the requests that the child had started, the last one being the one it ran.

    Args:
        runtime: Seconds that one had run.
        signalled: Whether it was cancelled by a signal.
    """
    *finished, last = started
    outcomes: list[Outcome] = [lost(request, reason) for request in finished]
    if member.sentence is not None and member.sentence.overdue:
        return [*outcomes, overdue(last, runtime=runtime)]
    if signalled:
        return [*outcomes, cancelled(last, runtime=runtime)]
    return [*outcomes, lost(last, reason, runtime=runtime)]
