"""The scheduler of periodic tasks: ``celery.beat``'s names, and a schedule that survives."""

from umbel.beat.engine import Engine
from umbel.beat.entry import ScheduleEntry
from umbel.beat.lazy import BeatLazyFunc
from umbel.beat.scheduler import (
    DEFAULT_MAX_INTERVAL,
    PersistentScheduler,
    Scheduler,
    SchedulingError,
    event_t,
)
from umbel.beat.service import EmbeddedService, Service, serve

__all__ = [
    "DEFAULT_MAX_INTERVAL",
    "BeatLazyFunc",
    "EmbeddedService",
    "Engine",
    "PersistentScheduler",
    "ScheduleEntry",
    "Scheduler",
    "SchedulingError",
    "Service",
    "event_t",
    "serve",
]
