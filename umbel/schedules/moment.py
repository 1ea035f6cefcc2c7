"""A schedule that comes once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from umbel.schedules.base import App, BaseSchedule, schedstate

__all__ = ["once"]

_NEVER = 365 * 86400.0
"""Seconds until one asks again about what is over."""


class once(BaseSchedule):  # noqa: N801 - beside crontab, solar and schedule
    """At one moment, and never again.

    Args:
        at: The moment; without a zone it is in the app's.
        nowfun: See :class:`BaseSchedule`.
        app: See :class:`BaseSchedule`.
    """

    def __init__(
        self,
        at: datetime,
        nowfun: Callable[[], datetime] | None = None,
        app: App | None = None,
    ) -> None:
        self.at = at
        super().__init__(nowfun=nowfun, app=app)

    def next_after(self, moment: datetime) -> datetime | None:
        """The moment, or None when it is not after ``moment``."""
        at = self.maybe_make_aware(self.at, naive_as_utc=False)
        return at if at.astimezone(UTC) > moment.astimezone(UTC) else None

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether the moment has come since ``last_run_at``."""
        if self.next_after(self.maybe_make_aware(last_run_at)) is None:
            return schedstate(False, _NEVER)
        remaining = self.remaining_estimate(last_run_at).total_seconds()
        return schedstate(remaining <= 0, remaining if remaining > 0 else _NEVER)

    def __repr__(self) -> str:
        return f"<once: {self.at.isoformat()}>"

    def __eq__(self, other: object) -> bool:
        return other.at == self.at if isinstance(other, once) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.at)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.at, self.nowfun)
