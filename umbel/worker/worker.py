"""The worker: takes messages from a broker, has them run, and brings home what comes of them."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from umbel import signals
from umbel.app.connecting.urls import shown_url
from umbel.exceptions import ImproperlyConfigured, NotRegistered
from umbel.protocols import Occupied
from umbel.worker import state
from umbel.worker.banner import banner, introduction
from umbel.worker.commands.state import Consumer
from umbel.worker.companions import Companion, running
from umbel.worker.deputy import deputy_of
from umbel.worker.extensions import companions_of
from umbel.worker.fetching.holding import Holding
from umbel.worker.fetching.ratelimit import RateLimits
from umbel.worker.fetching.source import Source
from umbel.worker.fleet.company import Company
from umbel.worker.fleet.rivals import Rivals
from umbel.worker.health import cry
from umbel.worker.health.pulse import Pulse
from umbel.worker.health.systemd import Systemd
from umbel.worker.health.vitals import Vitals
from umbel.worker.health.watchdog import Watchdog, count_waiting
from umbel.worker.options import WorkerArguments, WorkerOptions, resolve
from umbel.worker.parts import Foundation, Parts
from umbel.worker.pools.choice import make_pool
from umbel.worker.pools.scaling import ScaledPool, make_autoscaler
from umbel.worker.process import causes, explains, loop_factory, may_run
from umbel.worker.revoking import revocations
from umbel.worker.revoking.revocations import Revocations
from umbel.worker.settling.aftermath import Aftermaths
from umbel.worker.settling.patience import Patience
from umbel.worker.setup import declare_queues, queues_of
from umbel.worker.shutdown import How, Shutdown
from umbel.worker.state import State

if TYPE_CHECKING:
    from types import TracebackType

    from umbel.app.base import Umbel
    from umbel.model import Queue
    from umbel.protocols import Broker, Pool, ResultBackend
    from umbel.worker.autoscale import Autoscaler
    from umbel.worker.deputy import Deputy

__all__ = ["Worker"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_EX_FAILURE = 1


class Worker:
    """One worker of an app. :meth:`run` is a whole process; ``async with`` runs it in place.

    ::

        async with Worker(app, pool="threads") as worker:
            add.delay(2, 2)
            await worker.settled(1)
    """

    def __init__(self, app: Umbel, **given: Unpack[WorkerArguments]) -> None:
        """Make one.

        Args:
            given: See :class:`umbel.worker.options.WorkerArguments`; the rest are settings.

        Raises:
            ImproperlyConfigured: There is no such pool, or the concurrency is not a number.
        """
        self.app = app
        self.options: WorkerOptions = resolve(given, app.conf)
        self.autoscaler: Autoscaler | None = None
        """What changes the number of processes; None: nothing does, before it runs or ever."""
        self._beside, self.hostname = tuple(given.get("beside") or ()), self.options.hostname
        self.state = State(
            Holding(self.options.eta_task_limit),
            Revocations(app.wall_clock, most=state.REVOKES_MAX, seconds=state.REVOKE_EXPIRES),
            RateLimits(app.wall_clock, enabled=not app.conf.worker_disable_rate_limits),
            Pulse(app.wall_clock),
            Rivals(app.wall_clock),
        )
        self.vitals = Vitals(
            self.options, self.state.pulse, self.state, clock=app.wall_clock, systemd=Systemd()
        )
        self.consumer: Consumer | None = None
        """What remote control sees of it; None before it is ready."""
        self._parts: Parts | None = None
        self._deputy: Deputy | None = None
        self._started = app.wall_clock.monotonic()
        grace = self.options.soft_shutdown_timeout
        self._shutdown = Shutdown(
            self._on_shutdown, say=self._say, clock=app.wall_clock, grace=grace
        )
        self._ready = asyncio.Event()
        self._loaded = False
        self._pool: Pool | None = None
        self._context: AsyncExitStack | None = None

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname}>"

    def run(self) -> int:
        """Be a worker process until told to end by a signal of the OS; returns the exit code.

        To be called from the main thread of a process without other threads: the pool forks.

        Source:
            Celery user guide, Workers; exit code 0 after a warm shutdown, 1 otherwise.
        """
        if not may_run(self.app):
            return _EX_FAILURE
        self._load()
        # Forks what has to be forked, while there is neither a loop nor a thread.
        self._pool = self._make_pool()
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                return runner.run(self._serve())
        except Exception as error:
            # The outermost handler: say what ended the worker, and end it.
            for cause in causes(error):
                logger.critical(
                    "Unrecoverable error: %r", cause, exc_info=None if explains(cause) else cause
                )
            return _EX_FAILURE

    async def arun(self) -> int:
        """:meth:`run` on the running loop, without the signals of the OS: :meth:`stop` ends it.

        Pools that fork are for :meth:`run`.
        """
        self._load()
        async with AsyncExitStack() as stack:
            broker, backend = self.app.make_broker(), self.app.make_backend()
            # Closed first is what was opened last: the broker gives back what is unsettled.
            await stack.enter_async_context(self.vitals.shown())
            stack.push_async_callback(backend.close)
            stack.push_async_callback(broker.close)
            queues = await self._unless_asked(self._connect(broker, backend))
            if queues is not None:
                pool = self._pool or self._make_pool()
                await pool.start()
                stack.push_async_exit(partial(_stop_after_failure, pool))
                await self._work(broker, backend, pool, queues)
        if signals.worker_shutdown.receivers:
            signals.worker_shutdown.send(sender=self)
        self.app.loader.shutdown_worker()
        return self._shutdown.exit_code

    def stop(self, how: How = "warm", reason: str = "") -> None:
        """End: warm lets running tasks finish; cold, also when asked for later, does not.

        To be called on the worker's loop. Returns at once.
        """
        self._shutdown.ask(how, reason)

    async def revoke(
        self,
        ids: str | Iterable[str],
        *,
        terminate: bool = False,
        signal: str | int | None = None,
    ) -> list[str]:
        """See that the tasks do not run: here, and on workers that share what was revoked.

        Args:
            terminate: Whether to end those that run here, by ``signal`` (TERM).

        Returns:
            The ids of the tasks that are being ended.

        Raises:
            ValueError: There is no such signal.
        """
        names = [ids] if isinstance(ids, str) else list(ids)
        return await self._running.revoking.revoke(
            revocations.of_ids(names), terminate=terminate, signal=signal
        )

    async def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, object],
        *,
        terminate: bool = False,
        signal: str | int | None = None,
    ) -> list[str]:
        """The same for tasks by their stamps: a value, or several, for each header."""
        return await self._running.revoking.revoke(
            revocations.of_headers(headers), terminate=terminate, signal=signal
        )

    async def add_consumer(self, queue: str, **options: Any) -> None:
        """Take tasks from one more queue.

        Args:
            options: ``exchange``, ``exchange_type``, ``routing_key`` and other properties of a
                queue that the app does not know; by default all are called as the queue is.

        Raises:
            QueueConflict: It exists with other properties.
        """
        queues = self.app.amqp.queues
        if queue not in queues:
            options["exchange"] = options.get("exchange") or queue
            options["exchange_type"] = options.get("exchange_type") or "direct"
            options["routing_key"] = options.get("routing_key") or queue
            queues.select_add(queue, **options)
        if await self._running.source.add(queues[queue]):
            logger.info("Started consuming from %s", queue)
            if self._deputy is not None:
                self._deputy.report()
            self._running.nudge()

    def cancel_consumer(self, queue: str) -> None:
        """Take no more tasks from a queue. What has been received is run."""
        self.app.amqp.queues.deselect(queue)
        if self._running.source.remove(queue):
            logger.info("Canceling queue %s", queue)
            self._running.nudge()

    def set_time_limits(self, task: str, *, soft: float | None, hard: float | None) -> None:
        """The time limits, in seconds, of runs of a task that start from now on.

        Raises:
            NotRegistered: There is no such task here.
        """
        if task not in self.app.tasks:
            raise NotRegistered(task)
        found = self.app.tasks[task]
        found.soft_time_limit, found.time_limit = soft, hard
        self._running.known.forget(task)

    def learn_revoked(self, ids: Iterable[str]) -> None:
        """Run none of these tasks; the others know of them already."""
        self.state.revocations.add(revocations.of_ids(ids))

    def set_rate_limit(self, task: str, rate: str | float | None) -> None:
        """Limit how often tasks of a type start in this worker, from now on.

        Args:
            rate: ``"100/s"``, ``"10/m"``, ``"2/h"``, a number per second; None or 0: no limit.

        Raises:
            NotRegistered: There is no such task here.
            ValueError: It is not a rate limit.
        """
        if task not in self.app.tasks:
            raise NotRegistered(task)
        self.state.rates.set(task, rate)
        if self._parts is not None:
            self._parts.nudge()

    @property
    def uptime(self) -> float:
        """Seconds since it was made."""
        return self.app.wall_clock.monotonic() - self._started

    @property
    def restarts(self) -> bool:
        """Whether it has ended for a new worker to take its place (``SIGHUP``)."""
        return self._shutdown.restarts

    async def ready(self) -> None:
        """Wait until it takes messages."""
        await self._ready.wait()

    async def settled(self, count: int) -> None:
        """Wait until ``count`` messages in all are done with for good since the start: finished,
        expired, unknown or unreadable; those put off or given back come again."""
        await self.state.until_settled(count)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(asyncio.TaskGroup())
            group.create_task(self.arun(), name="umbel-worker")
            await self.ready()
            self._context = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._context is not None, "entered before"
        self.stop()
        return await self._context.__aexit__(kind, error, traceback)

    async def _serve(self) -> int:
        loop = asyncio.get_running_loop()
        self._shutdown.listen(loop, self._pool if isinstance(self._pool, Occupied) else None)
        cry.listen(loop, self._shown_tasks)
        try:
            return await self.arun()
        finally:
            self._shutdown.over()

    @property
    def _running(self) -> Parts:
        if self._parts is None:
            raise RuntimeError(f"{self!r} does not run yet: await ready() first")
        return self._parts

    def _shown_tasks(self) -> list[str]:
        """What runs, for people."""
        if self._parts is None:
            return []
        now = self.app.wall_clock.monotonic()
        active = self.state.active
        return [
            f"{accepted.request.task}[{accepted.request.id}] pid:{running.pid} "
            f"for {now - running.since:.1f}s"
            for running in self._parts.running()
            if (accepted := active.get(running.key)) is not None
        ]

    def _load(self) -> None:
        """Make the app complete: its modules imported, its tasks registered."""
        if self._loaded:
            return
        self._loaded = True
        if signals.celeryd_init.receivers:
            signals.celeryd_init.send(
                sender=self.hostname, instance=self, conf=self.app.conf, options=self.options.told()
            )
        limits = {
            "task_time_limit": self.options.time_limit,
            "task_soft_time_limit": self.options.soft_time_limit,
        }
        self.app.conf.update({name: limit for name, limit in limits.items() if limit is not None})
        self.app.loader.init_worker()
        self.app.finalize()
        for name, task in self.app.tasks.items():
            try:
                self.state.rates.set(name, task.options.rate_limit)
            except ValueError as error:
                raise ImproperlyConfigured(f"rate_limit of task {name!r}: {error}") from None
        if signals.worker_init.receivers:
            signals.worker_init.send(sender=self)

    def _make_pool(self) -> Pool:
        pool = make_pool(self.options, self.app)
        if self.options.autoscale is not None:
            self.autoscaler = make_autoscaler(self.options, pool, self)
            pool = ScaledPool(pool, self.autoscaler)
        pool.prepare()
        return pool

    async def _connect(self, broker: Broker, backend: ResultBackend) -> list[Queue]:
        insist = Patience(self.app.wall_clock, retries=self.options.connect_retries)
        if self.options.retry_on_startup:
            await insist(broker.open)
            await insist(backend.open)
        else:
            await broker.open()
            await backend.open()
        logger.info("Connected to %s", shown_url(self.app.broker_read_url, self.app.project))
        queues = queues_of(self)
        # What follows a task may go to queues that another worker consumes.
        consumed = {queue.name for queue in queues}
        others = [queue for queue in self.app.router.bound() if queue.name not in consumed]
        await declare_queues(broker, [*queues, *others])
        if self.options.purge:
            count = await broker.purge([queue.name for queue in queues])
            self._say(f"purge: erased {count} messages from the queues.")
        return queues

    async def _work(
        self, broker: Broker, backend: ResultBackend, pool: Pool, queues: list[Queue]
    ) -> None:
        app = self.app
        company = Company(self)
        source = Source(
            broker,
            queues,
            accept=app.accept,
            limit=app.decompress_limit,
            clock=app.wall_clock,
        )
        foundation = Foundation(
            events=company.sender,
            source=source,
            backend=backend,
            pool=pool,
            tasks=app.tasks,
            codec=app.codec,
            compose=app.composer,
            aftermath_of=Aftermaths(
                app.encode_steps,
                app.codec,
                accept=app.accept,
                limit=app.decompress_limit,
                tasks=app.tasks,
            ),
            clock=app.wall_clock,
            signed_only=app.signed_only,
            options=self.options,
        )
        parts = self._parts = Parts(foundation, self.state)
        self._introduce(queues)
        consumer = self.consumer = Consumer(self, pool, source, company, parts)
        async with company.kept(consumer), running(self._companions()):
            logger.info("%s ready.", self.hostname)
            if signals.worker_ready.receivers:
                signals.worker_ready.send(sender=self)
            self.vitals.ready()
            self._ready.set()
            await parts.run(self._shutdown)

    def _companions(self) -> list[Companion]:
        app, options, source = self.app, self.options, self._running.source
        companions = [*self._beside, *companions_of(self, self._running, self._shutdown)]
        if options.stall_timeout:
            watchdog = Watchdog(
                self.state.pulse,
                seconds=options.stall_timeout,
                waiting=lambda: count_waiting(app.make_broker, source.queues),
                rebuild=self._running.reconnect,
                give_up=lambda: self._shutdown.ask("warm", "nothing comes", exit_code=_EX_FAILURE),
                clock=app.wall_clock,
            )
            companions.append(watchdog.watch)
        if self.autoscaler is not None:
            companions.append(self.autoscaler.run)
        self._deputy = deputy_of(app, options, source)
        if self._deputy is not None:
            companions.append(self._deputy.run)
        return companions

    async def _unless_asked(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do the work, but drop it when the worker is asked to end meanwhile."""
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(self._shutdown.asked())
            working = group.create_task(work)
            await asyncio.wait([asked, working], return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            working.cancel()
        return None if working.cancelled() else working.result()

    def _on_shutdown(self, how: How, reason: str, exit_code: int) -> None:
        if how == "cold":
            self._say("worker: Hitting Ctrl+C again will terminate all running tasks!")
        self._say(f"worker: {how.capitalize()} shutdown (MainProcess)")
        self.vitals.ending(how, restarts=self._shutdown.restarts)
        logger.info("%s: %s shutdown%s", self.hostname, how, f" ({reason})" if reason else "")
        if signals.worker_shutting_down.receivers:
            signals.worker_shutting_down.send(
                sender=self.hostname,
                sig=reason,
                how=how.capitalize(),
                exitcode=exit_code,
            )

    def _introduce(self, queues: list[Queue]) -> None:
        if not self.options.quiet:
            self._say(banner(introduction(self.app, self.options, queues)))

    def _say(self, text: str) -> None:
        if not self.options.quiet:
            # Where people look, even when standard output is redirected into the log.
            print(text, file=sys.__stdout__, flush=True)


async def _stop_after_failure(
    pool: Pool,
    _kind: type[BaseException] | None,
    error: BaseException | None,
    _traceback: TracebackType | None,
) -> None:
    """End what runs when a part of the worker has failed; otherwise the parts have seen to it."""
    if error is not None:
        await pool.stop(grace=0)
