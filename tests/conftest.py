"""What holds for all tests: those marked ``alone`` run while no other test does; those whose server
is missing are skipped; what a test changes of the process is undone; the order is that of
tests/shares.py; and a private Redis.

With xdist several processes run tests at once. Everyone holds a lock on one file during a test:
shared, or exclusively for ``alone``. A second lock, taken first and released at once, is the
door: whoever waits for the room keeps it shut, so that nobody slips in meanwhile.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import hypothesis
import pytest

from tests.shares import Shares, put_in_order
from umbel.testing.servers import ServerMissing, redis_server, required

hypothesis.settings.register_profile(
    # How long an example takes says how busy the machine is.
    "umbel",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("umbel")

RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID")
"""Common to the processes of one run; None when there is only one process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    put_in_order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shares | None:
    return Shares(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    # Outside of everything else, so that waiting does not count against the test's timeout.
    with ExitStack() as room:
        if RUN:
            folder = Path(gettempdir())
            with _locked(folder / f"umbel-tests-{RUN}.door", exclusive=True):
                alone = item.get_closest_marker("alone") is not None
                room.enter_context(_locked(folder / f"umbel-tests-{RUN}.room", exclusive=alone))
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """Without a server the tests that need it are skipped, or fail where it is required."""
    with _skipping_what_is_missing():
        yield


@contextmanager
def _skipping_what_is_missing() -> Iterator[None]:
    try:
        yield
    except ServerMissing as missing:
        if required(missing.server):
            raise
        pytest.skip(str(missing))


@contextmanager
def _locked(path: Path, *, exclusive: bool) -> Iterator[None]:
    # There is no such module on Windows, where the tests run in one process.
    import fcntl

    with path.open("a+") as file:
        # Not flock: what a test forks and forgets would hold the lock as well, and all would wait.
        fcntl.lockf(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """What a test changes of the whole process is as it was when the next one begins: handlers of
    signals, loggers, and what the real Celery does with each app that is finalized."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ()) if _HAS_MASKS else set()
    loggers = {name: _settings(logging.getLogger(name)) for name in _loggers()}
    finalizers = _finalizers()
    try:
        with _skipping_what_is_missing():
            return (yield)
    finally:
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        if _HAS_MASKS:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for name in _loggers():
            logger = logging.getLogger(name)
            before = loggers.get(name, (logging.NOTSET, True, False))
            if _settings(logger) != before:
                # Handlers are closed by whoever opens them.
                level, logger.propagate, logger.disabled = before
                logger.setLevel(level)
        for added in _finalizers() - finalizers:
            if added.__module__ != "celery.app.builtins":
                sys.modules["celery._state"]._on_app_finalizers.discard(added)


def _finalizers() -> set[Any]:
    return {*getattr(sys.modules.get("celery._state"), "_on_app_finalizers", ())}


_HAS_MASKS = hasattr(signal, "pthread_sigmask")
_SIGNALS = [
    number
    for name in ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD")
    if (number := getattr(signal, name, None)) is not None
]


def _loggers() -> list[str]:
    known = logging.Logger.manager.loggerDict
    return ["", *(name for name, one in known.items() if isinstance(one, logging.Logger))]


def _settings(logger: logging.Logger) -> tuple[int, bool, bool]:
    return logger.level, logger.propagate, logger.disabled


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A Redis with nothing in it, gone after the test."""
    with redis_server() as server:
        yield server.url()


@pytest.fixture(scope="module")
def redis_for_module() -> Iterator[str]:
    """As ``redis_url``, for all tests of a module."""
    with redis_server() as server:
        yield server.url()


def pytest_sessionfinish() -> None:
    # The processes end one after the other; the first one's unlink leaves the others their file.
    if RUN:
        for name in ("door", "room"):
            (Path(gettempdir()) / f"umbel-tests-{RUN}.{name}").unlink(missing_ok=True)
