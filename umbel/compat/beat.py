"""``celery.beat.BeatPidbox``: a scheduler's answers to pings.

Source:
    Celery internals reference, ``celery.beat``: names. Services start one themselves where
    ``beat_enable_remote_control`` says so.
"""

from __future__ import annotations

from umbel.beat.answering import Answering
from umbel.beat.service import Service

__all__ = ["NODENAME_DEFAULT", "BeatPidbox"]

NODENAME_DEFAULT = "celerybeat"


class BeatPidbox(Answering):
    """Answers pings for a service, between :meth:`start` and :meth:`stop`."""

    def __init__(self, service: Service) -> None:
        super().__init__(
            service.app,
            hostname=service.hostname,
            interval=service.longest_interval,
            looked_at=lambda: service.looked_at,
        )
        self.service = service

    def is_stale(self) -> bool:
        """Whether it is silent, because the schedule was not looked at for too long."""
        return self.is_stuck()
