"""Stop 1 of a task's way: options become a call, with nothing left to look up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from umbel.app.sending.ids import new_id
from umbel.execution import context
from umbel.result import AsyncResult
from umbel.routing.routes import NOWHERE
from umbel.wire.call import Call

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.execution.runnable import TaskOptions

__all__ = ["CALL_OPTIONS", "Defaults", "adopt", "defaults_of", "make_call", "moment", "result_of"]

CALL_OPTIONS = frozenset(
    {
        *("countdown", "eta", "expires", "queue", "exchange", "routing_key", "exchange_type"),
        *("priority", "serializer", "compression", "delivery_mode", "headers", "time_limit"),
        *("soft_time_limit", "ignore_result", "task_id", "link", "link_error", "shadow"),
        *("group_id", "group_index", "chord", "chain", "root_id", "parent_id", "reply_to"),
        *("retries", "replaced_task_nesting", "origin", "argsrepr", "kwargsrepr"),
        *("stamped_headers", "retry", "retry_policy", "producer", "connection", "router"),
        *("add_to_parent", "result_cls", "route_name", "task_type", "declare", "now"),
        *("event_dispatcher", "timeout", "confirm_timeout", "timezone", "mandatory", "immediate"),
        *("publisher", "correlation_id", "stamps"),
    }
)
"""The options of ``apply_async`` that have a meaning; any other becomes a message property."""

_LONGEST = 10 * 365 * 86400
"""Seconds; whoever passes more has most likely passed something else."""

_PASSED_ON = (
    *("serializer", "compression", "priority", "delivery_mode", "time_limit", "soft_time_limit"),
    *("group_id", "group_index", "chord", "chain", "root_id", "parent_id", "reply_to", "retries"),
    *("replaced_task_nesting", "origin", "argsrepr", "kwargsrepr", "correlation_id", "headers"),
    *("ignore_result", "stamped_headers", "stamps"),
)


_WAY = ("queue", "exchange", "routing_key", "exchange_type")

_SAID = (*_WAY[:3], "priority", "serializer", "compression", "delivery_mode")
"""What a task may say that a route may say too: the task wins."""


class Defaults(dict[str, Any]):
    """The fields of a call that are the same for every call of a task without options."""

    __slots__ = ("options", "said", "undecided")

    options: TaskOptions | None
    said: Mapping[str, Any]
    """What the task and its route say; the options of a call win over it."""
    undecided: bool
    """Whether every call has a route of its own: from a router function, or with a time in it."""


def defaults_of(app: Umbel, name: str, options: TaskOptions | None) -> Defaults:
    """What is known of every call of task ``name``, whatever its options are."""
    routes = app.router.routes
    route = routes.find(name) if routes.is_static else NOWHERE
    made = _routed(app, name, options, route)
    made.undecided = not routes.is_static or "expiration" in route
    return made


def _routed(
    app: Umbel, name: str, options: TaskOptions | None, route: Mapping[str, Any]
) -> Defaults:
    conf = app.conf
    said = {**route, **_said_by(options)}
    exchange, routing_key, exchange_mode = app.router.way(*map(said.get, _WAY))
    mode = said.get("delivery_mode") or exchange_mode or conf.task_default_delivery_mode or 2
    priority = said.get("priority")
    made = Defaults(
        task=name,
        serializer=said.get("serializer") or conf.task_serializer,
        compression=said.get("compression") or conf.task_compression,
        protocol=conf.task_protocol,
        exchange=exchange,
        routing_key=routing_key,
        priority=conf.task_default_priority if priority is None else priority,
        delivery_mode=_delivery_mode(mode),
        origin=app.origin,
        reply_to=app.oid,
    )
    insistence = {name: route[name] for name in ("retry", "retry_policy") if name in route}
    if insistence:
        made["insistence"] = insistence
    made.options, made.said, made.undecided = options, said, False
    if options is None:
        made["ignore_result"] = None
    else:
        made["time_limit"] = options.time_limit
        made["soft_time_limit"] = options.soft_time_limit
        made["ignore_result"] = options.ignore_result
    if said:
        _set_rest(made, said, app.wall_clock.time)
    return made


def _said_by(options: TaskOptions | None) -> dict[str, Any]:
    if options is None:
        return {}
    values = {name: getattr(options, name) for name in _SAID}
    return {name: value for name, value in values.items() if value is not None}


def _asked(
    app: Umbel,
    defaults: Defaults,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    overrides: Mapping[str, Any],
) -> Defaults:
    """The defaults of one call, with the route that the router functions give it."""
    name, options = defaults["task"], defaults.options
    told = {**_said_by(options), **overrides}
    route = app.router.lookup(name, args, kwargs, told, app.known_task(name))
    return _routed(app, name, options, route)


def make_call(
    app: Umbel,
    defaults: Defaults,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    overrides: Mapping[str, Any],
    expires: float | None = None,
) -> Call:
    """A call with everything decided: its id, its times, its way, where it came from.

    Args:
        defaults: :func:`defaults_of` the task.
        overrides: The options of ``apply_async``.
        expires: Seconds; the task's own default.

    Raises:
        ValueError: A time that is no time, a number that is none; a soft time limit beyond the
            hard one.
        TypeError: Arguments that are not a sequence and a mapping; callbacks that are no
            signatures.
    """
    run = context.current()
    if defaults.undecided:
        defaults = _asked(app, defaults, args, kwargs, overrides)
    if run is None and not overrides and expires is None:
        return Call(id=new_id(), args=args, kwargs=kwargs, **defaults)
    fields = dict(defaults)
    if run is not None:
        fields["parent_id"] = run.request.id
        fields["root_id"] = run.request.root_id or run.request.id
        if app.conf.task_inherit_parent_priority and run.request.message.priority is not None:
            fields["priority"] = run.request.message.priority
    for name in _PASSED_ON:
        if overrides.get(name) is not None:
            fields[name] = overrides[name]
    fields["id"] = overrides.get("task_id") or new_id()
    fields["callbacks"] = _signatures("link", overrides.get("link"))
    fields["errbacks"] = _signatures("link_error", overrides.get("link_error"))
    fields["shadow"] = overrides.get("shadow")
    _set_way(app, fields, defaults.said, overrides)
    fields["delivery_mode"] = _delivery_mode(fields["delivery_mode"])
    _set_times(app, fields, overrides, expires)
    _set_rest(fields, overrides, app.wall_clock.time)
    _check_numbers(fields)
    return Call(args=args, kwargs=kwargs, **fields)


def _set_way(
    app: Umbel, fields: dict[str, Any], said: Mapping[str, Any], overrides: Mapping[str, Any]
) -> None:
    if not any(map(overrides.get, _WAY)):
        return
    way = app.router.way(*(overrides.get(name) or said.get(name) for name in _WAY))
    fields["exchange"], fields["routing_key"], exchange_mode = way
    if overrides.get("delivery_mode") is None and said.get("delivery_mode") is None:
        default = app.conf.task_default_delivery_mode
        fields["delivery_mode"] = exchange_mode or default or 2


def _set_times(
    app: Umbel, fields: dict[str, Any], overrides: Mapping[str, Any], default: float | None
) -> None:
    now = app.wall_clock.now()
    countdown, eta = overrides.get("countdown"), overrides.get("eta")
    if countdown is not None:
        if delay := _seconds("countdown", countdown):
            fields["eta"] = now + timedelta(seconds=delay)
    elif eta is not None:
        fields["eta"] = moment("eta", eta, app.timezone)
    expires = overrides.get("expires")
    expires = default if expires is None else expires
    if expires is None:
        return
    if isinstance(expires, int | float | timedelta) and not isinstance(expires, bool):
        expires = now + timedelta(seconds=_seconds("expires", expires))
    else:
        expires = moment("expires", expires, app.timezone)
    fields["expires"] = expires
    fields["expires_at"] = expires.timestamp()


def _set_rest(fields: dict[str, Any], options: Mapping[str, Any], now: Callable[[], float]) -> None:
    stamps = {name: options[name] for name in options.get("stamped_headers") or ()}
    if stamps:
        fields["stamps"] = stamps
    rest = {name: options[name] for name in options if name not in CALL_OPTIONS}
    for name in stamps:
        rest.pop(name, None)
    if rest.get("expiration") is not None:
        seconds = _seconds("expiration", rest["expiration"])
        # As AMQP has it; and for brokers that go by the message's own field.
        rest["expiration"] = str(int(seconds * 1000))
        if fields.get("expires") is None:
            fields["expires_at"] = now() + seconds
    if rest:
        fields["properties"] = {**fields.get("properties", {}), **rest}


def _check_numbers(fields: Mapping[str, Any]) -> None:
    for name in ("priority", "time_limit", "soft_time_limit"):
        value = fields.get(name)
        if value is not None and not isinstance(value, int | float):
            raise ValueError(f"{name}={value!r} is not a number")
    hard, soft = fields.get("time_limit"), fields.get("soft_time_limit")
    if hard and soft and soft > hard:
        message = f"soft_time_limit must be less than or equal to time_limit: {soft!r} > {hard!r}"
        raise ValueError(message)


def result_of(call: Call, app: Umbel) -> AsyncResult[Any]:
    """The result that a call will have."""
    result = AsyncResult[Any](call.id, None, call.task, app)
    if call.ignore_result:
        result.ignored = True
    return result


def adopt(results: Iterable[AsyncResult[Any]], options: Mapping[str, Any]) -> None:
    """Note the results of calls as children of the task that runs here, if one does."""
    run = context.current()
    if run is not None and run.task.options.trail and options.get("add_to_parent", True):
        for result in results:
            run.add_child(result)


def moment(name: str, value: object, zone: tzinfo) -> datetime:
    """An option that is a moment, aware; a naive one is in the app's time zone.

    Raises:
        ValueError: ``value`` is neither a ``datetime`` nor ISO 8601 text.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            message = f"{name}={value!r} is not a moment: expected ISO 8601 text or a datetime"
            raise ValueError(message) from None
    if not isinstance(value, datetime):
        message = f"{name}={value!r} is not a moment: expected a datetime, found {type(value)}"
        raise ValueError(message)  # noqa: TRY004 - as for any other bad time
    aware = value if value.tzinfo is not None else value.replace(tzinfo=zone)
    # A day before year 1 or after 9999 in UTC cannot be compared with the clock.
    try:
        aware.astimezone(UTC)
    except OverflowError:
        message = f"{name}={value!r} is out of range: its UTC form has no representation"
        raise ValueError(message) from None
    return aware


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (isinstance(value, float) and math.isnan(value)):
        message = (
            f"{name}={value!r} is not a duration: expected seconds as a number, or a timedelta"
        )
        raise ValueError(message)
    # Comparable with any int, however long; infinity is out of range too.
    if abs(value) > _LONGEST:
        message = f"{name}={value!r:.50} is out of range: more than ten years. Pass seconds"
        raise ValueError(message)
    return float(value)


def _signatures(option: str, links: Any) -> list[Any] | None:
    if links is None:
        return None
    # A signature is a dict: one of them, or several.
    is_one = isinstance(links, Mapping | str) or not isinstance(links, Iterable)
    found: list[Any] = [links] if is_one else [*links]
    for link in found:
        if not isinstance(link, Mapping):
            message = (
                f"{option}={link!r} is not a signature: expected one or several, as in "
                f"{option}=task.s(…)"
            )
            raise TypeError(message)
    return found or None


def _delivery_mode(value: int | str) -> int:
    return {"transient": 1, "persistent": 2}[value] if isinstance(value, str) else value
