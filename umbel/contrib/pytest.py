"""Fixtures for tests of programs that have tasks.

::

    # conftest.py
    pytest_plugins = ("umbel.contrib.pytest",)


    # test_tasks.py
    def test_add(celery_app, celery_worker):
        @celery_app.task
        def add(x, y):
            return x + y

        assert add.delay(2, 2).get(timeout=10) == 4

It has to be asked for, and so is never in the way of Celery's own plug-in.

Source:
    Celery user guide, Testing with Celery, "Fixtures"; Celery reference, ``celery.contrib.pytest``.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from umbel.contrib.testing.app import TestApp, setup_default_app
from umbel.contrib.testing.worker import start_worker

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.contrib.testing.worker import TestWorkController

__all__ = [
    "NO_WORKER",
    "celery_app",
    "celery_class_tasks",
    "celery_config",
    "celery_enable_logging",
    "celery_includes",
    "celery_parameters",
    "celery_session_app",
    "celery_session_worker",
    "celery_worker",
    "celery_worker_parameters",
    "celery_worker_pool",
    "depends_on_current_app",
    "pytest_configure",
    "use_celery_app_trap",
]

NO_WORKER = os.environ.get("NO_WORKER")
"""Whether the tests run beside a worker that somebody else has started: then none is started."""

_CELERYS = "celery.contrib.pytest"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known.

    Raises:
        UsageError: Celery's own plug-in is there, too.
    """
    other = config.pluginmanager.get_plugin(_CELERYS)
    if other is not None and other.celery_app is not celery_app:
        raise pytest.UsageError(
            f"{__name__} and {_CELERYS} have fixtures of the same names: take one of them out of "
            "pytest_plugins."
        )
    config.addinivalue_line(
        "markers", "celery(**overrides): override celery configuration for a test case"
    )


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """To be overridden: whether it is an error to use the current or the default app."""
    return False


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """To be overridden: whether workers set up logging."""
    return False


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """To be overridden: modules that workers import."""
    return ()


@pytest.fixture(scope="session")
def celery_worker_pool() -> str:
    """To be overridden: the pool of workers."""
    return "solo"


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """To be overridden: settings of the apps."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """To be overridden: arguments that the apps are made with."""
    return {}


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """To be overridden: arguments of :func:`umbel.contrib.testing.worker.start_worker`."""
    return {}


@pytest.fixture(scope="session")
def celery_class_tasks() -> Sequence[Any]:
    """To be overridden: class-based tasks of the app that lives as long as the session."""
    return []


@pytest.fixture(scope="session")
def celery_session_app(
    request: pytest.FixtureRequest,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Generator[Umbel]:
    """An app that lives as long as the session; the current one, unless there is a trap."""
    app = _app(request, celery_config, celery_parameters, celery_enable_logging)
    with setup_default_app(app, use_trap=use_celery_app_trap):
        if not use_celery_app_trap:
            app.set_default()
            app.set_current()
        yield app


@pytest.fixture(scope="session")
def celery_session_worker(
    celery_session_app: Umbel,
    celery_includes: Sequence[str],
    celery_class_tasks: Sequence[Any],
    celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Generator[TestWorkController | None]:
    """A worker that lives as long as the session."""
    with ExitStack() as stack:
        if NO_WORKER:
            yield None
            return
        _import(celery_session_app, celery_includes)
        for task in celery_class_tasks:
            celery_session_app.register_task(task)
        given: dict[str, Any] = {"pool": celery_worker_pool, **celery_worker_parameters}
        yield stack.enter_context(start_worker(celery_session_app, **given))


@pytest.fixture
def celery_app(
    request: pytest.FixtureRequest,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Generator[Umbel]:
    """An app of the test's own."""
    app = _app(request, celery_config, celery_parameters, celery_enable_logging)
    with setup_default_app(app, use_trap=use_celery_app_trap):
        yield app


@pytest.fixture
def celery_worker(
    celery_app: Umbel,
    celery_includes: Sequence[str],
    celery_worker_pool: str,
    celery_worker_parameters: Mapping[str, Any],
) -> Generator[TestWorkController | None]:
    """A worker of the test's own app, in a thread."""
    with ExitStack() as stack:
        if NO_WORKER:
            yield None
            return
        _import(celery_app, celery_includes)
        given: dict[str, Any] = {"pool": celery_worker_pool, **celery_worker_parameters}
        yield stack.enter_context(start_worker(celery_app, **given))


@pytest.fixture
def depends_on_current_app(celery_app: Umbel) -> None:
    """Make the test's own app the current one."""
    celery_app.set_current()


def _app(
    request: pytest.FixtureRequest,
    config: Mapping[str, Any],
    parameters: Mapping[str, Any],
    enable_logging: bool,
) -> Umbel:
    mark = request.node.get_closest_marker("celery")
    return TestApp(
        set_as_current=False,
        enable_logging=enable_logging,
        config={**config, **(mark.kwargs if mark else {})},
        **parameters,
    )


def _import(app: Umbel, modules: Sequence[str]) -> None:
    for module in modules:
        app.loader.import_task_module(module)
