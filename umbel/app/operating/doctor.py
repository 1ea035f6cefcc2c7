"""What is unsafe or does not fit together in a configuration and in the fleet that it is for.

Pure: the facts are given, the findings come out. ``umbel doctor`` gathers the facts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from umbel.app.defaults import SETTINGS
from umbel.app.defaults.support import missing
from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["Facts", "Finding", "is_internal", "look_at", "look_at_fleet"]

_PICKLE = {"pickle", "application/x-python-serialize"}
_DEFAULT_VISIBILITY = 3600.0
"""Celery's ``visibility_timeout`` on Redis."""
_OWN_SCHEDULERS = {
    "celery.beat:PersistentScheduler",
    "celery.beat:Scheduler",
    "celery.beat.PersistentScheduler",
    "celery.beat.Scheduler",
}
"""Names that stand for umbel's own schedule, of which many may run."""

Level = Literal["error", "warning"]


class Finding(msgspec.Struct, frozen=True):
    """Something to be done about."""

    level: Level
    """``error``: tasks are lost, run by strangers, or never run; ``warning``: they may be."""
    about: str
    """A word for programs: ``pickle``, ``no-consumer`` and so on."""
    text: str
    """What is found."""
    advice: str
    """What to do."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of the fleet."""

    nodes: Collection[str]
    """Who has answered: workers, and schedulers."""
    beats: Mapping[str, str | None] = {}
    """The schedulers among them: their names, and what they say they are: ``umbel``, of which any
    number may run, or something else; None: nothing, as Celery's."""
    rivals: Collection[str] = ()
    """Schedulers that workers have seen to take turns: their processes' names."""
    consumed: Collection[str]
    """The queues that workers take from."""
    known: Collection[str]
    """The tasks that workers know."""
    ready: Mapping[str, int]
    """Messages that wait, by queue of the app."""
    tasks: Mapping[str, str]
    """The tasks of the app, each with the queue that it is sent to."""
    scheduled: Mapping[str, str]
    """Periodic tasks: the entry's name, the task's name."""
    dead: int = 0
    """Dead letters."""


def is_internal(task: str) -> bool:
    """Whether every worker has the task."""
    return task.startswith(("celery.", "umbel."))


def look_at(app: Umbel, *, is_celery: bool = False) -> list[Finding]:
    """Judge the configuration, and what tasks say of themselves.

    Args:
        is_celery: Whether workers of Celery's run the tasks.
    """
    return [
        *_trust(app),
        *_results(app),
        *_delays(app, is_celery=is_celery),
        *_schedulers(app, is_celery=is_celery),
        *_places(app),
        *_unconfirmed(app),
        *_unsupported(app),
    ]


def _trust(app: Umbel) -> Iterable[Finding]:
    conf = app.conf
    accepted = {*(conf.accept_content or ()), *(conf.result_accept_content or ())}
    if accepted & _PICKLE:
        yield Finding(
            "error",
            "pickle",
            "pickle is accepted: whoever can write to the broker or result backend can run any "
            "code in workers.",
            "Send JSON (task_serializer, result_serializer), then take pickle out of "
            "accept_content and result_accept_content; or accept signed messages only.",
        )
    for name in ("task_serializer", "result_serializer"):
        if conf[name] in _PICKLE and not accepted & _PICKLE:
            yield Finding(
                "error",
                "pickle",
                f"{name} is 'pickle', and accept_content has no pickle: nobody will read that.",
                f"Set {name} to 'json'.",
            )


def _results(app: Umbel) -> Iterable[Finding]:
    try:
        app.make_backend()
    except ImproperlyConfigured as error:
        yield Finding(
            "error",
            "result-backend",
            str(error),
            "Correct result_backend, or set it to 'disabled'.",
        )
    if not _seconds(app.conf.result_expires):
        yield Finding(
            "warning",
            "result-expiry",
            "result_expires is off: results are kept for ever, until the disk or memory is full.",
            "Set result_expires, for example to 86400 seconds; ignore_result=True for tasks "
            "whose results nobody reads.",
        )


def _delays(app: Umbel, *, is_celery: bool) -> Iterable[Finding]:
    conf = app.conf
    options: Mapping[str, Any] = conf.broker_transport_options or {}
    on_redis = app.broker_url.startswith(("redis", "sentinel", "unix", "valkey"))
    # umbel's workers hold nothing that is not due: only Celery's are asked about.
    if not on_redis or not (is_celery or "visibility_timeout" in options):
        return
    timeout = _seconds(options.get("visibility_timeout")) or _DEFAULT_VISIBILITY
    longest: dict[str, float] = {}
    for name, task in app.tasks.items():
        delay = _seconds(task.default_retry_delay)
        if getattr(task, "retry_backoff", False):
            delay = max(delay, _seconds(getattr(task, "retry_backoff_max", 0)))
        if delay > timeout and not is_internal(name):
            longest[name] = delay
    schedule: Mapping[str, Any] = conf.beat_schedule or {}
    for entry in schedule.values():
        # An entry of Celery's kind is an object, and has the same names.
        given: Mapping[str, Any] = _of(entry, "options") or {}
        delay = _seconds(given.get("countdown"))
        if delay > timeout:
            longest[str(_of(entry, "task"))] = delay
    for name, delay in sorted(longest.items()):
        yield Finding(
            "error",
            "visibility-timeout",
            f"{name} may be delayed by {delay:g} seconds, and visibility_timeout is {timeout:g}: "
            "Celery's workers on Redis run such tasks several times.",
            f"Set visibility_timeout in broker_transport_options beyond {delay:g}, shorten the "
            "delay, or let umbel's workers take that queue: they leave it in the broker.",
        )


def _schedulers(app: Umbel, *, is_celery: bool) -> Iterable[Finding]:
    scheduler = app.conf.beat_scheduler
    if app.conf.beat_schedule and (is_celery or str(scheduler) not in _OWN_SCHEDULERS):
        yield Finding(
            "warning",
            "two-schedulers",
            f"beat_scheduler {scheduler!s}: two that run at once send every periodic task twice.",
            "See that exactly one runs, or use umbel's own schedule, where one leads and the "
            "others stand by.",
        )


def _places(app: Umbel) -> Iterable[Finding]:
    if app.broker_url.startswith(("memory", "in-memory")):
        yield Finding(
            "warning",
            "memory",
            "the broker is the memory of one process: no other process sees its tasks.",
            "Set broker_url to SQLite, Redis or RabbitMQ, unless this is a test.",
        )
    if app.conf.task_always_eager:
        yield Finding(
            "error",
            "eager",
            "task_always_eager is on: tasks run where they are called, and no worker gets any.",
            "Leave it to tests.",
        )


def _unconfirmed(app: Umbel) -> Iterable[Finding]:
    options: Mapping[str, Any] = app.conf.broker_transport_options or {}
    if options.get("confirm_publish", True) is False:
        yield Finding(
            "warning",
            "confirm-publish",
            "confirm_publish=False in broker_transport_options is not obeyed: RabbitMQ confirms "
            "every message that umbel sends.",
            "Take it out. Where speed matters, send many at once (apply_many, groups): they are "
            "confirmed together.",
        )


def _unsupported(app: Umbel) -> Iterable[Finding]:
    for name in app.conf.table(with_defaults=False):
        found = missing(name, app.conf[name], SETTINGS[name].default)
        if found is not None:
            yield Finding(
                "warning",
                "unsupported",
                f"{name} has no effect: {found.reason}.",
                f"Take {name} out, or see that you can do without.",
            )


def look_at_fleet(facts: Facts) -> list[Finding]:
    """Judge who is there, and who is not."""
    made = [*_rivals(facts)]
    if set(facts.nodes) <= set(facts.beats):
        made.append(
            Finding(
                "error",
                "no-workers",
                "no worker has answered.",
                "Start one (umbel worker), or see whether workers use the same broker, "
                "control_exchange and a remote control that is on.",
            )
        )
        return [*made, *_dead(facts)]
    made += _unconsumed(facts)
    made += _unknown(facts)
    return [*made, *_dead(facts)]


def _rivals(facts: Facts) -> Iterable[Finding]:
    alone = sorted(node for node, kind in facts.beats.items() if kind != "umbel")
    ours = len(facts.beats) - len(alone)
    if len(alone) + bool(ours) > 1:
        beside = " beside umbel's own" if ours else ""
        yield Finding(
            "error",
            "two-schedulers",
            f"schedulers of Celery's kind run{beside}: {', '.join(alone)}. Every periodic task is "
            "sent by each of them.",
            "End all but one, or use umbel's own schedule, of which any number may run.",
        )
    elif facts.rivals:
        yield Finding(
            "error",
            "two-schedulers",
            "periodic tasks come from several schedulers by turns: "
            f"{', '.join(sorted(facts.rivals))} (process id and host).",
            "End all but one, or use umbel's own schedule, of which any number may run.",
        )


def _unconsumed(facts: Facts) -> Iterable[Finding]:
    for queue in sorted({*facts.ready, *facts.tasks.values()} - set(facts.consumed)):
        waiting = facts.ready.get(queue, 0)
        users = sorted(task for task, target in facts.tasks.items() if target == queue)
        sent = f"; {', '.join(users[:3])} {'is' if len(users) == 1 else 'are'} sent there"
        yield Finding(
            "error" if waiting else "warning",
            "no-consumer",
            f"no worker takes from queue {queue!r}, where {waiting} "
            f"{'message waits' if waiting == 1 else 'messages wait'}{sent if users else ''}.",
            f"Start one with -Q {queue}, or tell one: umbel control add_consumer {queue}.",
        )


def _unknown(facts: Facts) -> Iterable[Finding]:
    known = set(facts.known)
    for task in sorted(set(facts.tasks) - known):
        yield Finding(
            "warning",
            "unknown-task",
            f"no worker knows the task {task!r}.",
            "Deploy its module to the workers, or name it in imports (--include).",
        )
    for entry, task in sorted(facts.scheduled.items()):
        if task not in known and task not in facts.tasks and not is_internal(task):
            yield Finding(
                "error",
                "unknown-task",
                f"the schedule sends {task!r} ({entry}), which no worker knows.",
                "Mind the spelling of the whole name; deploy it before it is scheduled.",
            )


def _dead(facts: Facts) -> Iterable[Finding]:
    if facts.dead:
        yield Finding(
            "warning",
            "dead-letters",
            f"messages were given up, and are kept: {facts.dead}.",
            "See why: umbel dead list; then umbel dead retry or umbel dead drop.",
        )


def _of(entry: Any, name: str) -> Any:
    return entry[name] if hasattr(entry, "keys") and name in entry else getattr(entry, name, None)


def _seconds(value: Any) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return float(value) if isinstance(value, int | float) else 0.0
