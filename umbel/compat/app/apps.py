"""Apps as text and as bytes, the default one, and tasks that are made to run.

Source:
    Celery reference, ``celery.app`` and ``celery.app.utils``: names and behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from umbel.app.configuring.censor import censored
from umbel.app.current import get_default_app, shared_task_makers
from umbel.compat.local import Proxy
from umbel.execution import context

__all__ = [
    "AppPickler",
    "add_autoretry_behaviour",
    "appstr",
    "connect_on_app_finalize",
    "default_app",
    "filter_hidden_settings",
    "get_current_worker_task",
    "pop_current_task",
    "push_current_task",
]

_RETRY_OPTIONS = (
    *("autoretry_for", "dont_autoretry_for", "retry_kwargs"),
    *("retry_backoff", "retry_backoff_max", "retry_jitter"),
)

_Finalizer = TypeVar("_Finalizer", bound=Callable[[Any], object])

default_app = Proxy(get_default_app)
"""The app that threads without a current one see, whichever it is when it is used."""


def appstr(app: Any) -> str:
    """What tells an app from others, for people."""
    return f"{app.main or '__main__'} at {id(app):#x}"


def filter_hidden_settings(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Settings fit to be shown: passwords, keys and the like are hidden."""
    return {name: censored(name, value) for name, value in conf.items()}


class AppPickler:
    """Makes an app of what apps were pickled as before Celery 3.1.

    To be subclassed: :meth:`build_kwargs` names what was pickled.
    """

    def __call__(self, cls: type[Any], *args: Any) -> Any:
        """The app."""
        kwargs = self.build_kwargs(*args)
        app = self.construct(cls, **kwargs)
        self.prepare(app, **kwargs)
        return app

    def prepare(self, app: Any, **kwargs: Any) -> None:
        """Change its settings as they were changed."""
        app.conf.update(kwargs["changes"])

    def build_kwargs(self, *args: Any) -> dict[str, Any]:
        """What the app is made with."""
        return self.build_standard_kwargs(*args)

    def build_standard_kwargs(
        self,
        main: str | None,
        changes: Mapping[str, Any],
        loader: Any,
        backend: Any,
        amqp: Any,
        events: Any,
        log: Any,
        control: Any,
        accept_magic_kwargs: bool = False,
        config_source: Any = None,
    ) -> dict[str, Any]:
        """The same, of what every app has."""
        return {
            "main": main,
            "changes": changes,
            "loader": loader,
            "backend": backend,
            "amqp": amqp,
            "events": events,
            "log": log,
            "control": control,
            "set_as_current": False,
            "config_source": config_source,
        }

    def construct(self, cls: type[Any], **kwargs: Any) -> Any:
        """Make it."""
        return cls(**kwargs)


def push_current_task(task: Any) -> None:
    """Make a task the one that runs, until :func:`pop_current_task`."""
    context.push(task, context.Context())


def pop_current_task() -> Any:
    """Undo :func:`push_current_task`; returns the task. None: none was made to run."""
    task = context.current_task()
    return None if context.pop() is None else task


def get_current_worker_task() -> Any:
    """The task that a worker runs, or ``apply`` does; not one that it has called like a function.

    None: there is none.
    """
    run = context.current()
    return None if run is None else run.task


def connect_on_app_finalize(callback: _Finalizer) -> _Finalizer:
    """Have ``callback(app)`` called when an app is finalized; a decorator."""
    shared_task_makers.append(callback)
    return callback


def add_autoretry_behaviour(task: Any, **options: Any) -> None:
    """Have a task retried for some exceptions: ``autoretry_for`` and what goes with it.

    Raises:
        TypeError: An option is not about that.
    """
    strange = sorted(options.keys() - set(_RETRY_OPTIONS))
    if strange:
        raise TypeError(f"{strange[0]!r} is no option of automatic retries: {_RETRY_OPTIONS}")
    for name, value in options.items():
        setattr(task, name, value)
