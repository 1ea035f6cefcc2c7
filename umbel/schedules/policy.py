"""What is to be done about an entry now: pure.

An entry's ``since`` is the last of its times that is done with. From there its schedule gives the
times that have come; the entry's rules say which of them are run, and which are skipped.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import msgspec

from umbel.schedules.base import BaseSchedule, schedule
from umbel.schedules.plan import Plan

__all__ = ["GRACE", "Step", "Steps", "due", "next_time", "steps"]

GRACE = 5.0
"""Seconds by which a time may be late without counting as missed: a leader takes that long to
be replaced, and a store to come back."""
_MOST_TIMES = 100_000
"""Times looked through at once; what comes after them is for the next look."""
_ASK_AGAIN = 60.0
"""Seconds after which a schedule that is over is asked again."""


class Step(msgspec.Struct, frozen=True):
    """One step of an entry."""

    until: float
    """Unix seconds: the time that is run, or the last of those that are skipped."""
    runs: bool
    skipped: int = 0
    """How many times are left out by it."""


class Steps(msgspec.Struct, frozen=True):
    """Everything to be done about an entry now, and when to look again."""

    steps: tuple[Step, ...]
    again: float
    """Unix seconds."""


def steps(plan: Plan, since: float, now: float, *, deadline: float | None = None) -> Steps:
    """What has come since, and what its rules make of it.

    Args:
        since: Unix seconds, ``ScheduleRecord.since``.
        now: Unix seconds.
        deadline: Seconds by which a time may be late and still be run; None: any.
    """
    begin = _begin(plan, since)
    if isinstance(plan.schedule, schedule) and since > now + plan.schedule.seconds:
        # The clock was set back by more than an interval: it goes on from here.
        return Steps((Step(now, runs=False),), now + plan.schedule.seconds)
    if not isinstance(plan.schedule, BaseSchedule) or _defines_due_only(plan.schedule):
        return _asked(plan, since, begin, now)
    times, following = _times(plan, begin, now)
    made = tuple(_ruled(plan, times, now, deadline))
    return Steps(made, _late(plan, following, now))


def next_time(plan: Plan, after: float) -> float | None:
    """The first time of the plan after that one, in Unix seconds; None: never again."""
    begin = _begin(plan, after)
    found: datetime | None = plan.schedule.next_after(datetime.fromtimestamp(begin, UTC))
    if found is None or (plan.end is not None and found.timestamp() > plan.end.timestamp()):
        return None
    return found.timestamp()


def _begin(plan: Plan, since: float) -> float:
    """From where an entry looks for its times: an interval begins at its start, and of a
    calendar's times the start itself may be one."""
    if plan.start is None:
        return since
    start = plan.start.timestamp()
    return max(since, start if isinstance(plan.schedule, schedule) else start - 1e-3)


def _times(plan: Plan, begin: float, now: float) -> tuple[list[float], float | None]:
    """The times that have come, and the one after them. Of a long list, only its end matters
    unless all are run."""
    times: list[float] = []
    moment: float | None = begin
    for _ in range(_MOST_TIMES):
        assert moment is not None
        moment = next_time(plan, moment)
        if moment is None or due(plan, moment) > now:
            return times, moment
        times.append(moment)
    return times, now


def _ruled(plan: Plan, times: list[float], now: float, deadline: float | None) -> list[Step]:
    if not times:
        return []
    kept: list[float]
    match plan.missed:
        case "all":
            kept = times[-plan.missed_limit :]
        case "last":
            kept = times[-1:]
        case "skip":
            kept = times[-1:] if now - times[-1] <= GRACE + _delay(plan, times[-1]) else []
    # What comes in time is no catching up: an entry that is due twice a second runs twice.
    in_time = [time for time in times if now - time <= GRACE + plan.jitter]
    if len(in_time) > len(kept) and plan.missed != "all":
        kept = in_time
    if deadline is not None:
        kept = [time for time in kept if now - time <= deadline + plan.jitter]
    left_out = len(times) - len(kept)
    made = [Step(time, runs=True) for time in kept]
    if left_out:
        made.insert(0, Step(times[left_out - 1], runs=False, skipped=left_out))
    return made


def _asked(plan: Plan, since: float, begin: float, now: float) -> Steps:
    """For schedules that only know whether they are due: it runs once, now."""
    if plan.end is not None and now > plan.end.timestamp():
        return Steps((), now + _ASK_AGAIN)
    due, again = plan.schedule.is_due(datetime.fromtimestamp(begin, UTC))
    wait = max(float(again), 0.0)
    if due and now > since and now >= begin:
        return Steps((Step(now, runs=True),), now + wait)
    return Steps((), now + wait)


def _defines_due_only(when: BaseSchedule) -> bool:
    """Whether its class overrides what Celery documents, and not what ours are made of."""
    kind: Any = type(when)
    for base in kind.__mro__:
        if "next_after" in vars(base):
            return base is BaseSchedule
        if "is_due" in vars(base) or "remaining_estimate" in vars(base):
            return True
    return True


def _late(plan: Plan, time: float | None, now: float) -> float:
    return now + _ASK_AGAIN if time is None else due(plan, time)


def due(plan: Plan, time: float) -> float:
    """When the run at a time is to begin, jitter included; in Unix seconds."""
    return time + _delay(plan, time)


def _delay(plan: Plan, time: float) -> float:
    """Seconds by which the run at a time is late: the same for every scheduler."""
    if not plan.jitter:
        return 0.0
    return plan.jitter * (crc32(f"{plan.name}\0{time:.3f}".encode()) / 0xFFFFFFFF)
