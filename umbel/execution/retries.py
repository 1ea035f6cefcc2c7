"""Trying again: ``self.retry``, and by itself for the exceptions a task names.

Source:
    Celery user guide, Tasks, "Retrying" and "Automatic retry for known exceptions".
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from umbel.exceptions import MaxRetriesExceededError, Reject, Retry, TaskPredicate
from umbel.execution.context import Run, caller_headers, current, of
from umbel.execution.runnable import Runnable, TaskOptions
from umbel.model import Message
from umbel.serialization.registry import serializer
from umbel.wire import headers as wire_headers
from umbel.wire import tasks as wire_tasks
from umbel.wire.call import Call

__all__ = ["again", "backoff", "next_call", "retry", "sent_with"]

_FIELD_BY_OPTION = {
    "link": "callbacks",
    "link_error": "errbacks",
    **{name: name for name in ("serializer", "compression", "exchange", "routing_key", "priority")},
    **{name: name for name in ("delivery_mode", "time_limit", "soft_time_limit", "shadow")},
    **{name: name for name in ("ignore_result", "chain", "chord", "group_id", "group_index")},
    **{name: name for name in ("root_id", "parent_id", "reply_to", "correlation_id", "headers")},
    **{name: name for name in ("argsrepr", "kwargsrepr", "origin", "replaced_task_nesting")},
    **{name: name for name in ("stamped_headers", "stamps", "retries")},
}
"""The options of ``apply_async`` that are fields of a call, under whichever name."""

_OF_THE_DELIVERY = frozenset(
    {"correlation_id", "delivery_info", "delivery_mode", "delivery_tag", "body_encoding"}
    | {"content_encoding", "content_type", "expiration", "priority", "reply_to"}
)
"""Properties that are about the message at hand, or fields of the call."""


def backoff(
    attempt: int,
    *,
    factor: float,
    maximum: float,
    jitter: bool,
    random: Callable[[], float] | None = None,
) -> float:
    """Seconds to wait before the next attempt: doubling, capped, optionally spread.

    Args:
        attempt: Tries that have failed so far, from 1.
        factor: Seconds; the first delay.
        maximum: Seconds; no delay is longer.
        jitter: Draw uniformly from the whole seconds up to the delay, instead of returning it.
        random: Gives numbers from 0 to 1, 1 excluded; ``random.random`` by default.

    Source:
        Celery user guide, Tasks, "Automatic retry for known exceptions": ``retry_backoff``,
        ``retry_backoff_max``, ``retry_jitter``.

    >>> [backoff(n, factor=2, maximum=30, jitter=False) for n in (1, 2, 3, 6)]
    [2, 4, 8, 30]
    >>> backoff(3, factor=2, maximum=30, jitter=True, random=lambda: 0.5)
    4
    """
    # 2 ** 62 seconds is longer than any maximum; a message that claims 10^9 tries costs nothing.
    delay: float = min(maximum, factor * 2 ** min(attempt - 1, 62))
    if not jitter:
        return delay
    if random is None:
        # Costs 4 ms to import; programs that only define tasks never draw.
        import random as source

        random = source.random
    return int(random() * (int(delay) + 1))


def retry(
    task: Runnable,
    args: Sequence[object] | None = None,
    kwargs: Mapping[str, object] | None = None,
    exc: BaseException | None = None,
    throw: bool = True,
    eta: datetime | None = None,
    countdown: float | None = None,
    max_retries: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Retry:
    """Ask for another try of the call that runs now.

    The next try keeps the call's id, its place in its workflow, its links, its stamps and its own
    headers. It is published together with the outcome of this try, so that a crash between the
    two cannot double or lose it; with ``throw=False`` at once, since this try goes on.

    Args:
        exc: What went wrong: shown in the RETRY state, raised when there are no more tries.
        throw: Whether to raise the ``Retry`` that ends this try, or to return it.
        countdown: Seconds until the next try; ``default_retry_delay`` when neither this nor
            ``eta`` is given.
        max_retries: Instead of the task's own, for this and every later ``autoretry_for``.
        options: As for ``apply_async``; they win over what the message says.

    Raises:
        Retry: The next try has been asked for.
        MaxRetriesExceededError: It has been tried often enough, and there is no ``exc``.
        Reject: The next try cannot be encoded or sent; the task is given up.
        BaseException: ``exc``, when there are no more tries, or when the task was called like a
            function; in the latter case, without ``exc``, what is being handled.
    """
    run = current()
    if run is None or of(task) is not run.context:
        raise _direct_error(exc)
    if max_retries is not None:
        run.max_retries, run.overrides_max_retries = max_retries, True
    limit = task.options.max_retries if max_retries is None else max_retries
    if eta is None and countdown is None:
        countdown = task.options.default_retry_delay
    # Of the context: a task may say that a try is not to count.
    if limit is not None and run.context.retries + 1 > limit:
        raise _exceeded(run, args, kwargs, exc)
    try:
        call = next_call(run, args, kwargs, eta=eta, countdown=countdown, options=options or {})
        wanted = Retry(
            exc=exc,
            when=eta if eta is not None else countdown,
            is_eager=run.is_eager,
            sig=call,
        )
        if not run.is_eager:
            _send(run, call, at_once=not throw)
    except Exception as error:
        raise Reject(error, requeue=False) from error
    if throw:
        raise wanted
    return wanted


def again(run: Run, error: BaseException) -> BaseException:
    """What to make of ``error``, raised by a task that may want to be tried again by itself.

    Returns a ``Retry`` when the task's ``autoretry_for`` says so and there are tries left;
    otherwise the exception to fail with.
    """
    options = run.task.options
    if (
        not options.autoretry_for
        or not isinstance(error, options.autoretry_for)
        or isinstance(error, (TaskPredicate, *options.dont_autoretry_for))
    ):
        return error
    rest = dict(options.retry_kwargs)
    fixed = {name: rest.pop(name, None) for name in ("args", "kwargs", "eta", "countdown")}
    limit = rest.pop("max_retries", None)
    rest.pop("throw", None)
    if options.retry_backoff:
        fixed["countdown"] = _delay(run.context.retries + 1, options)
    if run.overrides_max_retries:
        limit = run.max_retries
    raised_at = error.__traceback__
    try:
        return retry(run.task, **fixed, exc=error, throw=True, max_retries=limit, options=rest)
    except (Exception, type(error)) as decision:
        # Given up: the traceback says where it went wrong, not how we gave up.
        return error.with_traceback(raised_at) if decision is error else decision


def sent_with(run: Run, wanted: Retry) -> Message:
    """The message of the next try; made now, if the task has raised a ``Retry`` of its own."""
    waiting = run.unsent or []
    for index, (call, message) in enumerate(waiting):
        if call is wanted.sig:
            run.unsent = waiting[:index] + waiting[index + 1 :]
            return message
    if not isinstance(wanted.sig, Call):
        when = wanted.when
        delay = run.task.options.default_retry_delay if when is None else when
        eta, countdown = (delay, None) if isinstance(delay, datetime) else (None, delay)
        wanted.sig = next_call(run, None, None, eta=eta, countdown=countdown, options={})
    # An eager task is tried again in place, by its call.
    return run.request.message if run.is_eager else wire_tasks.encode(wanted.sig)


def next_call(
    run: Run,
    args: Sequence[object] | None,
    kwargs: Mapping[str, object] | None,
    *,
    eta: datetime | None,
    countdown: float | None,
    options: Mapping[str, Any],
) -> Call:
    """The next try of a running call: everything as it came, one more retry, due later."""
    request, message, body = run.request, run.request.message, run.body
    headers = wire_headers.read(message)
    fields: dict[str, Any] = {
        "task": request.task,
        "id": request.id,
        "args": tuple(body.args if args is None else args),
        "kwargs": body.kwargs if kwargs is None else kwargs,
        "serializer": serializer(message.content_type).name,
        "compression": headers.get("compression"),
        "protocol": request.protocol,
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "priority": message.priority,
        "delivery_mode": message.properties.get("delivery_mode", 2),
        "expires": headers.get("expires"),
        "expires_at": request.expires,
        "retries": run.context.retries + 1,
        "time_limit": request.time_limit,
        "soft_time_limit": request.soft_time_limit,
        "root_id": request.root_id,
        "parent_id": request.parent_id or request.id,
        "group_id": request.group_id,
        "group_index": headers.get("group_index"),
        # Whoever hid an argument from logs the first time does not want to see it the second time.
        "argsrepr": headers.get("argsrepr") if args is None else None,
        "kwargsrepr": headers.get("kwargsrepr") if kwargs is None else None,
        "shadow": headers.get("shadow"),
        "origin": headers.get("origin") or "",
        "ignore_result": run.ignores_result,
        "callbacks": body.callbacks,
        "errbacks": body.errbacks,
        "chain": body.chain,
        "chord": body.chord,
        "replaced_task_nesting": headers.get("replaced_task_nesting") or 0,
        "stamped_headers": headers.get("stamped_headers"),
        "stamps": headers.get("stamps"),
        "headers": caller_headers(headers) or None,
        "properties": {k: v for k, v in message.properties.items() if k not in _OF_THE_DELIVERY},
        "reply_to": message.reply_to,
        "correlation_id": message.correlation_id,
    }
    _apply_options(run, fields, options)
    fields["eta"] = _due(run, eta, countdown)
    return Call(**fields)


def _apply_options(run: Run, fields: dict[str, Any], options: Mapping[str, Any]) -> None:
    own_headers = fields["headers"]
    for name, value in options.items():
        if value is not None and name in _FIELD_BY_OPTION:
            fields[_FIELD_BY_OPTION[name]] = value
    if options.get("headers"):
        fields["headers"] = {**(own_headers or {}), **options["headers"]}
    if options.get("queue"):
        fields["exchange"], fields["routing_key"] = run.tools.route(options["queue"])
    for name in ("callbacks", "errbacks"):
        # A signature is a dict: one of them, or several.
        if isinstance(fields[name], Mapping):
            fields[name] = [fields[name]]
    if (expires := options.get("expires")) is not None:
        moment = _moment(run, expires)
        fields["expires"], fields["expires_at"] = moment, moment.timestamp()


def _due(run: Run, eta: datetime | None, countdown: float | None) -> datetime | None:
    if countdown is not None:
        return _moment(run, countdown) if countdown > 0 else None
    return None if eta is None else _moment(run, eta)


def _moment(run: Run, value: datetime | float) -> datetime:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=run.tools.timezone)
    return run.tools.clock.now() + timedelta(seconds=value)


def _send(run: Run, call: Call, *, at_once: bool) -> None:
    message = wire_tasks.encode(call)
    if at_once:
        run.tools.publish([message])
        return
    run.unsent = [*(run.unsent or ()), (call, message)]


def _delay(attempt: int, options: TaskOptions) -> float:
    return backoff(
        attempt,
        factor=int(max(1.0, options.retry_backoff)),
        maximum=options.retry_backoff_max,
        jitter=options.retry_jitter,
    )


def _direct_error(exc: BaseException | None) -> BaseException:
    # Called like a function there is nothing to send again: the caller gets what went wrong.
    return exc or sys.exc_info()[1] or Retry("Task can be retried")


def _exceeded(
    run: Run,
    args: Sequence[object] | None,
    kwargs: Mapping[str, object] | None,
    exc: BaseException | None,
) -> BaseException:
    if exc is not None:
        return exc
    args = run.args if args is None else args
    kwargs = run.kwargs if kwargs is None else kwargs
    msg = f"Can't retry {run.request.task}[{run.request.id}] args:{args} kwargs:{kwargs}"
    return MaxRetriesExceededError(msg, task_args=args, task_kwargs=kwargs)
