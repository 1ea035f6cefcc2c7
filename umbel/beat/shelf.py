"""Celery's own schedule file: when its entries last ran, for who moves here from there.

Source:
    Celery 5.7, ``PersistentScheduler``: a shelf whose ``entries`` is a dictionary of entries,
    whose pickles hold name, task, ``last_run_at``, ``total_run_count`` and the rest.
"""

from __future__ import annotations

import dbm
import io
import logging
import pickle
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec

from umbel.schedules.base import schedule
from umbel.schedules.crontab import crontab
from umbel.schedules.solar import solar

__all__ = ["LastRun", "last_runs"]

logger = logging.getLogger("umbel.beat")

_SUFFIXES = ("", ".db", ".dat")


class LastRun(msgspec.Struct, frozen=True):
    """What Celery's file knows of an entry."""

    at: float
    """Unix seconds."""
    count: int


def last_runs(filename: str) -> Mapping[str, LastRun]:
    """When the entries in Celery's schedule file last ran; nothing when there is no such file, or
    it cannot be read, which is logged."""
    if not any(Path(filename + suffix).exists() for suffix in _SUFFIXES):
        return {}
    try:
        with dbm.open(filename, "r") as shelf:
            entries: Any = _Reader(io.BytesIO(shelf[b"entries"])).load()
        return {name: _last_run(entry) for name, entry in dict(entries).items()}
    except Exception as error:  # noqa: BLE001 - what a broken pickle or database may raise
        logger.warning(
            "beat: Cannot read Celery's schedule file %s (%s: %s); entries begin anew.",
            filename,
            type(error).__name__,
            error,
        )
        return {}


class _Entry:
    """Stands for Celery's class, and for any other in its place."""

    def __init__(
        self,
        name: Any = None,
        task: Any = None,
        last_run_at: Any = None,
        total_run_count: Any = None,
        *_rest: Any,
    ) -> None:
        self.last_run_at = last_run_at
        self.total_run_count = total_run_count

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(cast("dict[str, Any]", state))


class _Anything:
    """A value that is not needed."""

    def __init__(self, *_arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __call__(self, *_arguments: Any) -> _Anything:
        return self


_KNOWN: Mapping[tuple[str, str], Any] = {
    ("celery.beat", "ScheduleEntry"): _Entry,
    ("celery.schedules", "crontab"): crontab,
    ("celery.schedules", "schedule"): schedule,
    ("celery.schedules", "solar"): solar,
}
_HARMLESS = {
    "datetime": {"datetime", "date", "time", "timedelta", "timezone"},
    "zoneinfo": {"ZoneInfo"},
    "builtins": {"set", "frozenset", "list", "dict", "tuple"},
}


class _Reader(pickle.Unpickler):
    """Makes nothing but values: a schedule file is not to run code."""

    def find_class(self, module: str, name: str) -> Any:
        """A class of those that are known; a stand-in for every other."""
        known = _KNOWN.get((module, name))
        if known is not None:
            return known
        if name in _HARMLESS.get(module, ()):
            return super().find_class(module, name)
        return _Anything


def _last_run(entry: Any) -> LastRun:
    at: Any = entry.last_run_at
    if not isinstance(at, datetime):
        raise pickle.UnpicklingError(f"an entry's last_run_at is {at!r}")
    aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return LastRun(aware.timestamp(), int(entry.total_run_count or 0))
