"""The outcomes that a pool decides by itself, without a runner's word."""

from __future__ import annotations

import logging

from umbel.model import Failed, Request, Revoked

__all__ = ["broken", "cancelled", "lost", "overdue", "unencodable"]

logger = logging.getLogger(__name__)


def broken(request: Request, error: BaseException, *, runtime: float = 0.0) -> Failed:
    """The outcome of a request whose runner raised, which it never should; logs it."""
    logger.critical(
        "Task %s[%s]: the runner raised %r; the task is reported as failed",
        request.task,
        request.id,
        error,
        exc_info=error,
    )
    return Failed(key=request.key, runtime=runtime, record=None, reason=repr(error))


def cancelled(request: Request, *, runtime: float = 0.0) -> Revoked:
    """The outcome of a request that was cancelled before it ended by itself."""
    return Revoked(key=request.key, record=None, runtime=runtime)


def lost(request: Request, reason: str, *, runtime: float = 0.0) -> Failed:
    """The outcome of a request whose process ended before its outcome was known."""
    return Failed(key=request.key, runtime=runtime, record=None, cause="worker-lost", reason=reason)


def overdue(request: Request, *, runtime: float) -> Failed:
    """The outcome of a request that has run for its hard time limit."""
    reason = f"{request.time_limit}"
    return Failed(key=request.key, runtime=runtime, record=None, cause="time-limit", reason=reason)


def unencodable(key: int, error: Exception, *, runtime: float = 0.0) -> Failed:
    """The outcome of a request that, or whose outcome, cannot cross to another process."""
    logger.critical("A request or its outcome cannot be encoded: %r", error)
    reason = f"cannot be encoded: {error}"
    return Failed(key=key, runtime=runtime, record=None, reason=reason)
