"""Settings and attributes, resolved into the frozen options that the layers below are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.execution.runnable import TaskOptions

if TYPE_CHECKING:
    from umbel.app.task import Task

__all__ = ["FromConfig", "resolve"]


class FromConfig:
    """A task attribute that is the app's setting unless the task says otherwise.

    Source:
        Celery reference, ``Task.from_config``.
    """

    def __init__(self, setting: str) -> None:
        self.setting = setting

    # Any: what users' task classes and decorator options put here is checked when resolved.
    def __get__(self, task: Task[..., Any] | None, owner: type) -> Any:
        if task is None:
            return None
        return getattr(task.app.conf, self.setting)


def resolve(task: Task[..., Any]) -> TaskOptions:
    """The task's options as they are now."""
    both = task.acks_on_failure_or_timeout
    return TaskOptions(
        serializer=task.serializer,
        compression=task.compression,
        rate_limit=task.rate_limit,
        priority=task.priority,
        expires=task.expires,
        time_limit=task.time_limit,
        soft_time_limit=task.soft_time_limit,
        ignore_result=bool(task.ignore_result),
        store_errors_even_if_ignored=bool(task.store_errors_even_if_ignored),
        store_eager_result=bool(task.store_eager_result),
        acks_late=bool(task.acks_late),
        acks_on_failure=_either(task.acks_on_failure, both),
        acks_on_timeout=_either(task.acks_on_timeout, both),
        reject_on_worker_lost=bool(task.reject_on_worker_lost),
        retry_on_worker_lost=bool(task.retry_on_worker_lost),
        track_started=bool(task.track_started),
        throws=_classes(task.throws),
        max_retries=task.max_retries,
        default_retry_delay=task.default_retry_delay,
        autoretry_for=_classes(task.autoretry_for),
        dont_autoretry_for=_classes(task.dont_autoretry_for),
        retry_kwargs=task.retry_kwargs,
        retry_backoff=task.retry_backoff,
        retry_backoff_max=task.retry_backoff_max,
        retry_jitter=bool(task.retry_jitter),
        queue=task.queue,
        exchange=task.exchange,
        routing_key=task.routing_key,
        delivery_mode=task.delivery_mode,
        trail=bool(task.trail),
        typing=task.app.strict_typing if task.typing is None else bool(task.typing),
        send_events=bool(task.send_events),
        resultrepr_maxsize=task.resultrepr_maxsize,
    )


def _either(own: bool | None, both: bool | None) -> bool:
    if own is not None:
        return bool(own)
    return True if both is None else bool(both)


def _classes(value: Any) -> tuple[type[BaseException], ...]:
    if isinstance(value, type):
        return (value,)
    return tuple(value or ())
