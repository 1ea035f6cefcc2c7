"""Workers in a thread of the tests."""

from __future__ import annotations

import logging
import threading
from typing import Any
from uuid import uuid4

import pytest

from umbel import Umbel, shared_task
from umbel.app.current import get_current_app
from umbel.contrib.testing.app import TestApp, setup_default_app
from umbel.contrib.testing.worker import (
    start_worker,
    test_worker_started,
    test_worker_starting,
    test_worker_stopped,
)
from umbel.exceptions import BrokerUnavailable

TIMEOUT = 60


@pytest.mark.parametrize("pool", ["solo", "threads", "asyncio"])
def test_a_worker_runs_tasks_while_the_block_runs(app: Umbel, pool: str) -> None:
    @app.task
    def where() -> str:
        return threading.current_thread().name

    with start_worker(app, pool=pool):
        assert where.delay().get(timeout=TIMEOUT) != threading.current_thread().name
    assert "umbel-test-worker" not in {thread.name for thread in threading.enumerate()}


def test_processes_run_tasks_too(tmp_path: Any) -> None:
    app = TestApp(broker=f"sqlite:///{tmp_path}/tasks.db", backend=f"sqlite:///{tmp_path}/tasks.db")

    @app.task
    def pid() -> int:
        import os

        return os.getpid()

    import os

    with setup_default_app(app), start_worker(app, pool="prefork", ping_task_timeout=TIMEOUT):
        assert pid.delay().get(timeout=TIMEOUT) != os.getpid()


def test_a_task_that_calls_tasks_uses_the_workers_app(app: Umbel) -> None:
    @shared_task(name="tests.one")
    def one() -> int:
        return 1

    @app.task
    def who() -> bool:
        one.delay()
        return get_current_app() is app

    with start_worker(app, pool="threads"):
        assert who.delay().get(timeout=TIMEOUT)


def test_the_ping_goes_to_a_queue_that_the_worker_consumes(app: Umbel) -> None:
    with start_worker(app, queues=["mail"], ping_task_timeout=TIMEOUT) as worker:
        assert worker.consumer is not None
        assert [queue.name for queue in worker.consumer.queues] == ["mail"]


def test_a_broker_that_is_away_is_an_error_and_not_waited_for() -> None:
    app = TestApp(broker="redis://127.0.0.1:1/0", backend="memory://")
    with setup_default_app(app), pytest.raises(BrokerUnavailable), start_worker(app):
        pytest.fail("there is no broker")


def test_a_worker_that_cannot_start_says_why(app: Umbel) -> None:
    app.conf.imports = ["there.is.no.such.module"]

    with pytest.raises(RuntimeError, match=r"has failed: .*there\.is\.no"), start_worker(app):
        pytest.fail("its modules cannot be imported")


def test_a_task_that_takes_too_long_for_the_shutdown_is_an_error(app: Umbel) -> None:
    begun, over = threading.Event(), threading.Event()

    @app.task
    def wait() -> None:
        begun.set()
        over.wait(TIMEOUT)

    def leave_while_it_runs() -> None:
        with start_worker(app, pool="threads", shutdown_timeout=0.05):
            wait.delay()
            assert begun.wait(TIMEOUT)

    with pytest.raises(RuntimeError, match="shutdown_timeout"):
        leave_while_it_runs()
    over.set()


def test_an_option_that_no_worker_has_is_an_error(app: Umbel) -> None:
    with pytest.raises(TypeError, match="no option concurency"), start_worker(app, concurency=2):
        pytest.fail("a typing error has been ignored")


def test_a_failure_in_the_block_ends_the_worker_and_comes_out(app: Umbel) -> None:
    with pytest.raises(LookupError), start_worker(app):
        raise LookupError
    assert "umbel-test-worker" not in {thread.name for thread in threading.enumerate()}


def test_signals_tell_of_its_life(app: Umbel) -> None:
    told: list[tuple[str, Any]] = []

    def note(signal: Any, sender: Any, **named: Any) -> None:
        assert sender is app
        told.append((signal.name, named.get("worker")))

    signals = (test_worker_starting, test_worker_started, test_worker_stopped)
    for signal in signals:
        signal.connect(note)
    try:
        with start_worker(app) as worker:
            pass
    finally:
        for signal in signals:
            signal.disconnect(note)

    assert told == [
        ("test_worker_starting", None),
        ("test_worker_started", worker),
        ("test_worker_stopped", worker),
    ]


def test_logging_is_the_tests_own_again_afterwards() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    url = f"memory://{uuid4().hex}"
    app = TestApp(
        broker=url,
        backend=url,
        enable_logging=True,
        config={"worker_hijack_root_logger": True},
    )

    with setup_default_app(app), start_worker(app, loglevel="CRITICAL"):
        assert root.level == logging.CRITICAL
        assert root.handlers != before[0]

    assert (root.handlers, root.level) == before
    assert logging.getLogger("umbel.task").propagate


def test_an_app_for_tests_does_not_touch_logging(app: Umbel) -> None:
    level = logging.getLogger().level

    with start_worker(app, loglevel="CRITICAL"):
        assert logging.getLogger().level == level


def test_no_configuration_that_lies_there_is_read(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "celeryconfig.py").write_text("broker_url = 'redis://production:6379/0'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    assert TestApp().conf.broker_url == "memory://"
