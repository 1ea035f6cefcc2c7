"""Apps for tests, and what sees to it that one test's app is not the next one's.

Source:
    Celery reference, ``celery.contrib.testing.app``: names, arguments, settings.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any, cast

from umbel.app.base import Umbel
from umbel.app.current import current_everywhere, get_current_app, kept
from umbel.app.log import Logging
from umbel.contrib.testing.tasks import ping

__all__ = [
    "DEFAULT_TEST_CONFIG",
    "TestApp",
    "Trap",
    "UnitLogging",
    "set_trap",
    "setup_default_app",
]

DEFAULT_TEST_CONFIG: dict[str, Any] = {
    "worker_hijack_root_logger": False,
    "worker_log_color": False,
    "accept_content": {"json"},
    "enable_utc": True,
    "timezone": "UTC",
    "broker_url": "memory://",
    "result_backend": "cache+memory://",
    "broker_heartbeat": 0,
}
"""The settings of a :func:`TestApp` that says nothing else: everything stays in this process."""

PING = ping
"""The task that every app has from now on: embedded workers are asked for it."""

_LOOKED_FOR = frozenset({"_is_coroutine", "__func__"})
"""What ``unittest.mock`` asks of whatever it replaces."""


class Trap:
    """In the place of the current app: whatever is asked of it is an error.

    It finds code that has been given an app, and uses the current one all the same.
    """

    def __getattr__(self, name: str) -> Any:
        if name in _LOOKED_FOR:
            return None
        raise RuntimeError(
            f"Test depends on current_app: its {name!r} was asked for. Pass on the app that the "
            "test has, or let the test use the fixture depends_on_current_app."
        )


class UnitLogging(Logging):
    """Leaves logging as the tests have it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.already_setup = True


def TestApp(  # noqa: N802 - Celery's name
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    enable_logging: bool = False,
    set_as_current: bool = False,
    log: Any = UnitLogging,
    backend: str | None = None,
    broker: str | None = None,
    **kwargs: Any,
) -> Umbel:
    """An app for tests: with :data:`DEFAULT_TEST_CONFIG`, and not the current one.

    Args:
        config: More settings.
        enable_logging: Whether a worker sets up logging, as it would outside of tests.
        log: What a worker does instead.
        kwargs: As for :class:`umbel.Umbel`.
    """
    settings = {**deepcopy(DEFAULT_TEST_CONFIG), **(config or {})}
    if broker is not None:
        settings.pop("broker_url", None)
    if backend is not None:
        settings.pop("result_backend", None)
    # No celeryconfig.py that happens to lie there: it may name the broker of the real thing.
    kwargs.setdefault("config_source", {})
    app = Umbel(
        name or "celery.tests",
        set_as_current=set_as_current,
        log=None if enable_logging else log,
        broker=broker,
        backend=backend,
        **kwargs,
    )
    app.add_defaults(settings)
    return app


# When a test file has it among its names, it is no test.
cast("Any", TestApp).__test__ = False


@contextmanager
def set_trap(app: Umbel) -> Generator[None]:
    """In this block, whoever uses the current or the default app gets an error.

    Args:
        app: Accepted for Celery's sake.
    """
    with current_everywhere(cast("Umbel", Trap())):
        yield


@contextmanager
def setup_default_app(app: Umbel, use_trap: bool = False) -> Generator[None]:
    """After this block the app is closed, and all apps and shared tasks are what they were.

    Args:
        use_trap: Whether the current app is a :class:`Trap` meanwhile.
    """
    with ExitStack() as stack:
        stack.enter_context(kept())
        if get_current_app() is not app:
            stack.callback(app.close)
        if use_trap:
            stack.enter_context(set_trap(app))
        yield
