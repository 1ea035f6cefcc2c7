"""Workers in a thread of the tests' process.

::

    with start_worker(app, pool="threads") as worker:
        assert add.delay(2, 2).get(timeout=10) == 4

It is the worker that ``umbel worker`` runs, without the signals of the operating system.

Source:
    Celery reference, ``celery.contrib.testing.worker``: names and arguments.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Unpack, cast

from umbel.contrib.testing.tasks import ping
from umbel.result import allow_join_result
from umbel.signals import Signal
from umbel.utils.log import base_logger, task_logger
from umbel.utils.nodenames import anon_nodename
from umbel.worker import Worker
from umbel.worker.options import WorkerArguments
from umbel.worker.process import causes, loop_factory
from umbel.worker.shutdown import How

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = [
    "WORKER_LOGLEVEL",
    "TestWorkController",
    "setup_app_for_worker",
    "start_worker",
    "start_worker_thread",
    "test_worker_started",
    "test_worker_starting",
    "test_worker_stopped",
]

WORKER_LOGLEVEL = os.environ.get("WORKER_LOGLEVEL", "error")

test_worker_starting = Signal(name="test_worker_starting")
"""An embedded worker is about to start. Sender: the app."""

test_worker_started = Signal(("worker", "consumer"), name="test_worker_started")
"""An embedded worker takes tasks; in its thread. Sender: the app. Args: worker, consumer."""

test_worker_stopped = Signal(("worker",), name="test_worker_stopped")
"""An embedded worker has ended. Sender: the app. Args: worker (None: it never started)."""

_LAST_GRACE = 2.0
"""Seconds that a worker gets to end after it was told not to wait for its tasks."""
_ARGUMENTS = WorkerArguments.__optional_keys__
_OTHER_NAMES = {"state_db": "statedb", "events": "task_events", "send_events": "task_events"}


class TestWorkController(Worker):
    """A worker for a thread: others can wait for it, and stop it."""

    __test__ = False

    def __init__(self, app: Umbel, **given: Unpack[WorkerArguments]) -> None:
        super().__init__(app, **given)
        self._loop: asyncio.AbstractEventLoop | None = None
        # Set when it takes tasks, and when it has ended.
        self._decided = threading.Event()
        self._failure: Exception | None = None

    def start(self) -> None:
        """Work in this thread, until :meth:`stop`; see :meth:`ensure_started` for failures."""
        try:
            self.app.set_current()
            self._load()
            self._pool = self._make_pool()
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._live())
        except Exception as error:  # noqa: BLE001 - told by ensure_started, in the other thread
            self._failure = error
        finally:
            self._decided.set()

    def stop(self, how: How = "warm", reason: str = "") -> None:
        """End: see :meth:`umbel.worker.Worker.stop`. May be called in any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(super().stop, how, reason)

    def ensure_started(self, timeout: float | None = None) -> None:
        """Wait until it takes tasks.

        Args:
            timeout: Seconds; None: as long as it takes.

        Raises:
            RuntimeError: It has failed, or has not started in time.
        """
        if not self._decided.wait(timeout):
            raise RuntimeError(f"{self!r} has not started in {timeout} s")
        if self._failure is not None:
            reasons = "; ".join(f"{type(each).__name__}: {each}" for each in causes(self._failure))
            raise RuntimeError(f"{self!r} has failed: {reasons}") from self._failure

    def on_consumer_ready(self, consumer: Any) -> None:
        """Called in its thread when it takes tasks; sends :data:`test_worker_started`."""
        test_worker_started.send(sender=self.app, worker=self, consumer=consumer)
        self._decided.set()

    def reload(
        self,
        modules: Iterable[str] | None = None,
        reload: bool = False,
        reloader: Callable[[ModuleType], object] | None = None,
    ) -> None:
        """Import modules, and have the pool's processes know the tasks that were made meanwhile.

        Args:
            modules: Their names; None: those of the settings ``imports`` and ``include``.
            reload: Whether modules that are there are read again.
            reloader: What does that; default: ``importlib.reload``.
        """
        for name in self.app.loader.default_modules if modules is None else modules:
            if name not in sys.modules:
                self.app.loader.import_task_module(name)
            elif reload:
                (reloader or importlib.reload)(sys.modules[name])
        if self._loop is not None and self._pool is not None:
            asyncio.run_coroutine_threadsafe(self._restart_pool(), self._loop).result()

    async def _restart_pool(self) -> None:
        for name in self.app.tasks:
            self._running.known.forget(name)
        assert self._pool is not None, "it works"
        await self._pool.restart()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            announcing = group.create_task(self._announce())
            try:
                await self.arun()
            finally:
                announcing.cancel()

    async def _announce(self) -> None:
        await self.ready()
        self.on_consumer_ready(self.consumer)


@contextmanager
def start_worker(
    app: Umbel,
    concurrency: int = 1,
    pool: str = "solo",
    loglevel: str | int = WORKER_LOGLEVEL,
    logfile: str | None = None,
    perform_ping_check: bool = True,
    ping_task_timeout: float = 10.0,
    shutdown_timeout: float = 10.0,
    **kwargs: Any,
) -> Generator[TestWorkController]:
    """Have a worker of the app while the block runs, in a thread of this process.

    Args:
        perform_ping_check: Whether to wait until it has run a task.
        ping_task_timeout: Seconds that this may take.
        shutdown_timeout: Seconds that its tasks have to finish after the block.
        kwargs: As for :class:`umbel.worker.Worker`: ``queues``, ``hostname`` and others.

    Raises:
        RuntimeError: It has failed, or has not ended in time.
        TimeoutError: It has not run the task in time.
    """
    test_worker_starting.send(sender=app)
    worker: TestWorkController | None = None
    try:
        with start_worker_thread(
            app,
            concurrency=concurrency,
            pool=pool,
            loglevel=loglevel,
            logfile=logfile,
            perform_ping_check=perform_ping_check,
            shutdown_timeout=shutdown_timeout,
            **kwargs,
        ) as worker:
            if perform_ping_check:
                _check(app, worker, ping_task_timeout)
            yield worker
    finally:
        test_worker_stopped.send(sender=app, worker=worker)


@contextmanager
def start_worker_thread(
    app: Umbel,
    concurrency: int = 1,
    pool: str = "solo",
    loglevel: str | int = WORKER_LOGLEVEL,
    logfile: str | None = None,
    WorkController: type[TestWorkController] = TestWorkController,  # noqa: N803 - Celery's name
    perform_ping_check: bool = True,
    shutdown_timeout: float = 10.0,
    **kwargs: Any,
) -> Generator[TestWorkController]:
    """The same, but without asking the worker for a task; and of another class if need be.

    Raises:
        TypeError: A worker has no such option.
    """
    given = _arguments({"hostname": anon_nodename(), "without_heartbeat": True, **kwargs})
    given["concurrency"], given["pool"] = concurrency, pool
    given["quiet"] = given["without_mingle"] = given["without_gossip"] = True
    with _logging_kept():
        setup_app_for_worker(app, loglevel, logfile)
        if perform_ping_check and "celery.ping" not in app.tasks:
            raise RuntimeError("import umbel.contrib.testing.tasks before the app is finalized")
        # A broker that is away is an error here, and not waited for.
        app.portal.call(app.connections.broker)
        worker = WorkController(app, **given)
        thread = threading.Thread(target=worker.start, name="umbel-test-worker", daemon=True)
        thread.start()
        try:
            worker.ensure_started()
            yield worker
        finally:
            _end(worker, thread, shutdown_timeout)
    worker.ensure_started()


def setup_app_for_worker(app: Umbel, loglevel: str | int, logfile: str | None) -> None:
    """Make the app complete, current and everybody's default, and have it set up logging."""
    app.finalize()
    app.set_current()
    app.set_default()
    app.log.setup(loglevel=loglevel, logfile=logfile)


def _arguments(given: dict[str, Any]) -> WorkerArguments:
    # Callbacks of Celery's worker; its test worker has its own, and passes no other on.
    given.pop("ready_callback", None)
    named = {_OTHER_NAMES.get(name, name): value for name, value in given.items()}
    if unknown := sorted(named.keys() - _ARGUMENTS):
        raise TypeError(
            f"a worker has no option {', '.join(unknown)}; it has {', '.join(sorted(_ARGUMENTS))}"
        )
    return cast("WorkerArguments", named)


def _check(app: Umbel, worker: TestWorkController, timeout: float) -> None:
    """See that it runs tasks: those of a queue that it takes them from."""
    consumer = worker.consumer
    assert consumer is not None, "it is ready"
    queue = next((queue.name for queue in consumer.queues), None)
    task = app.tasks[ping.name]
    with allow_join_result():
        answer = task.apply_async(queue=queue, ignore_result=False).get(timeout=timeout)
    assert answer == "pong", answer


def _end(worker: TestWorkController, thread: threading.Thread, timeout: float) -> None:
    worker.stop()
    thread.join(timeout)
    if thread.is_alive():
        # Not to meet its tasks in the next test.
        worker.stop("cold")
        thread.join(_LAST_GRACE)
        raise RuntimeError(
            f"{worker!r} has not ended in {timeout} s, because a task of it still runs. If that "
            "is how long it takes, start the worker with a longer shutdown_timeout."
        )


@contextmanager
def _logging_kept() -> Generator[None]:
    """A worker sets up logging for its process; this one is the tests'."""
    loggers = (logging.getLogger(), base_logger, task_logger)
    before = [(each, each.handlers[:], each.level, each.propagate) for each in loggers]
    try:
        yield
    finally:
        for each, handlers, level, propagate in before:
            each.handlers[:] = handlers
            each.setLevel(level)
            each.propagate = propagate
