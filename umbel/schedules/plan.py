"""An entry of the schedule: which task, when, and by which rules; as code says it, and as stores
keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, cast, get_args

import msgspec

from umbel.exceptions import DecodeError, EncodeError, ImproperlyConfigured
from umbel.schedules.base import App, BaseSchedule, schedule
from umbel.schedules.crontab import crontab
from umbel.schedules.moment import once
from umbel.schedules.solar import solar
from umbel.serialization import json

__all__ = ["Missed", "Overlap", "Plan", "decode", "encode", "encode_loosely", "plan_of"]

Missed = Literal["last", "skip", "all"]
"""What becomes of times that nobody was there for: the last one is run, none is, or all are."""
Overlap = Literal["allow", "skip", "queue"]
"""When its last task has not ended: run anyway, leave this time out, or wait until it has."""

_KEYS = frozenset(
    {
        *("name", "task", "schedule", "args", "kwargs", "options", "relative"),
        *("missed", "missed_limit", "overlap", "jitter", "start", "end"),
    }
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the schedule."""

    name: str
    task: str
    schedule: Any
    """When: an object with ``next_after`` and ``is_due``, or ``is_due`` alone."""
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    """Of ``apply_async``."""
    missed: Missed = "last"
    missed_limit: int = 100
    """The most times that ``all`` catches up on; those before are skipped."""
    overlap: Overlap = "allow"
    jitter: float = 0.0
    """Seconds by which each run is late at most: a fixed part of them for each time."""
    start: datetime | None = None
    """Aware; no time before this one counts."""
    end: datetime | None = None
    """Aware; no time after this one counts."""
    from_code: bool = True
    """Whether the configuration has it; otherwise it was added while running."""


def plan_of(name: str, entry: Mapping[str, Any], app: App, *, from_code: bool = True) -> Plan:
    """An entry as ``beat_schedule`` has it.

    Args:
        entry: ``task``, ``schedule`` (seconds, a ``timedelta``, a ``datetime``, a line of crontab
            or a schedule), ``args``, ``kwargs``, ``options``, ``relative``; ``missed``,
            ``missed_limit``, ``overlap``, ``jitter``, ``start``, ``end``.

    Raises:
        ImproperlyConfigured: Something is missing, unknown or cannot be.

    Source:
        Celery user guide, Periodic Tasks, "Available Fields": the first six.
    """
    unknown = set(entry) - _KEYS
    if unknown:
        raise _wrong(name, f"there is no {min(unknown)!r}; an entry has {', '.join(sorted(_KEYS))}")
    task = entry.get("task")
    # An entry without a task runs the task that is called like it, as in Celery.
    task = name if task is None else getattr(task, "name", task)
    if not isinstance(task, str) or not task:
        raise _wrong(name, f"task={task!r} is not the name of a task")
    values: dict[str, Any] = {
        key: entry[key] for key in ("missed", "missed_limit", "overlap", "jitter") if key in entry
    }
    _check_rules(name, values)
    return Plan(
        name=name,
        task=task,
        schedule=_schedule(name, entry.get("schedule"), bool(entry.get("relative")), app),
        args=_arguments(name, entry.get("args")),
        kwargs=_mapping(name, "kwargs", entry.get("kwargs")),
        options=_mapping(name, "options", entry.get("options")),
        start=_moment(name, "start", entry.get("start"), app),
        end=_moment(name, "end", entry.get("end"), app),
        from_code=from_code,
        **values,
    )


def encode(plan: Plan) -> bytes:
    """As stores keep it. Of a schedule of somebody else's only its looks are kept.

    Raises:
        EncodeError: Arguments or options cannot be written as JSON.
    """
    return json.dumps(
        {
            "task": plan.task,
            "schedule": _described(plan.schedule),
            "args": list(plan.args),
            "kwargs": dict(plan.kwargs),
            "options": dict(plan.options),
            "missed": plan.missed,
            "missed_limit": plan.missed_limit,
            "overlap": plan.overlap,
            "jitter": plan.jitter,
            "start": plan.start,
            "end": plan.end,
            "from_code": plan.from_code,
        }
    )


def encode_loosely(plan: Plan) -> bytes:
    """For an entry that its own code runs: what cannot be written as JSON is kept as text."""
    try:
        return encode(plan)
    except EncodeError:
        return encode(
            msgspec.structs.replace(
                plan,
                args=[repr(value) for value in plan.args],
                kwargs={str(key): repr(value) for key, value in plan.kwargs.items()},
                options={str(key): repr(value) for key, value in plan.options.items()},
            )
        )


def decode(name: str, entry: bytes, app: App) -> Plan:
    """What :func:`encode` wrote.

    Raises:
        DecodeError: It did not, or the schedule is of a kind that only code knows.
    """
    found: Any = json.loads(entry)
    try:
        made = {**found, "schedule": _rebuilt(found["schedule"])}
        from_code = bool(made.pop("from_code"))
        return plan_of(name, made, app, from_code=from_code)
    except (KeyError, TypeError, ValueError, AttributeError, ImproperlyConfigured) as error:
        raise DecodeError(f"schedule: the entry {name!r} cannot be read: {error}") from error


def _described(when: Any) -> dict[str, Any]:
    match when:
        case crontab():
            fields = cast("tuple[Any, ...]", when.__reduce__()[1])
            plain = [field if isinstance(field, int | str) else sorted(field) for field in fields]
            return {"kind": "crontab", "fields": plain}
        case schedule():
            return {"kind": "interval", "seconds": when.seconds, "relative": when.relative}
        case once():
            return {"kind": "once", "at": when.at}
        case solar():
            return {"kind": "solar", "place": [when.event, when.lat, when.lon]}
        case _:
            return {"kind": "other", "looks": repr(when)}


def _rebuilt(found: Mapping[str, Any]) -> BaseSchedule:
    match found["kind"]:
        case "crontab":
            return crontab(*found["fields"])
        case "interval":
            return schedule(found["seconds"], found["relative"])
        case "once":
            return once(found["at"])
        case "solar":
            return solar(*found["place"])
        case _:
            raise ValueError(f"its schedule {found.get('looks')} is known to its own code only")


def _schedule(name: str, when: Any, relative: bool, app: App) -> Any:
    try:
        match when:
            case None:
                raise _wrong(name, "it has no schedule: seconds, a timedelta, crontab(…) …")
            case bool():
                raise _wrong(name, f"schedule={when!r} is not a time")
            case int() | float() | timedelta():
                made: Any = schedule(when, relative)
            case datetime():
                made = once(when)
            case str():
                made = crontab.from_string(when)
            case _:
                made = when
    except (ValueError, OverflowError) as error:
        raise _wrong(name, str(error)) from error
    if not callable(getattr(made, "is_due", None)):
        raise _wrong(name, f"schedule={when!r} is no schedule: it has no is_due()")
    if isinstance(made, schedule) and made.seconds <= 0:
        raise _wrong(name, "an interval of nothing would never let anything else run")
    made.app = app
    return made


def _check_rules(name: str, values: Mapping[str, Any]) -> None:
    for key, choices in (("missed", get_args(Missed)), ("overlap", get_args(Overlap))):
        if values.get(key, choices[0]) not in choices:
            raise _wrong(name, f"{key}={values[key]!r} is not one of {', '.join(choices)}")
    limit = values.get("missed_limit", 1)
    if not isinstance(limit, int) or limit < 1:
        raise _wrong(name, f"missed_limit={limit!r} is not a number of runs, 1 or more")
    jitter = values.get("jitter", 0.0)
    if not isinstance(jitter, int | float) or not 0 <= jitter <= 86400:
        raise _wrong(name, f"jitter={jitter!r} is not a number of seconds from 0 to a day")


def _arguments(name: str, args: Any) -> Sequence[Any]:
    if args is None:
        return ()
    if not isinstance(args, list | tuple):
        raise _wrong(name, f"args={args!r} is not a list or tuple")
    return cast("Sequence[Any]", args)


def _mapping(name: str, key: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong(name, f"{key}={value!r} is not a mapping")
    return cast("Mapping[str, Any]", value)


def _moment(name: str, key: str, value: Any, app: App) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise _wrong(name, f"{key}={value!r} is not a datetime")
    return value if value.tzinfo is not None else value.replace(tzinfo=app.timezone)


def _wrong(name: str, problem: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"beat_schedule[{name!r}]: {problem.rstrip('.')}.")
