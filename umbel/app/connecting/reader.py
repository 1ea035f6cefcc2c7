"""What receives for programs that are no workers: a thread, while somebody consumes.

It holds on to messages while their callbacks take their time, which nobody else could do: the
program's own thread is in the callback then.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from umbel.app.connecting.received import Received
from umbel.app.connecting.reception import AT_ONCE, Reception
from umbel.exceptions import BrokerUnavailable
from umbel.model import Delivery

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.app.connecting.received import Consumer

__all__ = ["Reader"]

T = TypeVar("T")

_PATIENCE = 10.0
"""Seconds that giving back what was received may take."""


class _Serving:
    """One consumer that is received for; or none, where messages are asked for one by one."""

    def __init__(self, consumer: Consumer | None) -> None:
        self.consumer = consumer
        self.reception: Reception | None = None
        self.task: asyncio.Task[None] | None = None
        self.handed_over: set[str] = set()
        """Tags of what the program has and has not settled."""


class Reader:
    """Receives for the consumers of one connection. For one thread at a time."""

    def __init__(self, app: Umbel) -> None:
        self._app = app
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="umbel-reader", daemon=True)
        self._arrived: SimpleQueue[tuple[_Serving, Delivery | BaseException]] = SimpleQueue()
        self._serving: dict[Consumer, _Serving] = {}
        self._desk: _Serving | None = None
        # With those that are dismissed, as long as the program has messages of theirs.
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def serve(self, consumer: Consumer) -> None:
        """Receive for a consumer from now on."""
        if consumer in self._serving:
            return
        self._serving[consumer] = self._started(_Serving(consumer))

    def dismiss(self, consumer: Consumer) -> None:
        """Receive for it no more. What it has not seen goes back before this returns; what it
        has, it may still settle."""
        serving = self._serving.pop(consumer, None)
        if serving is not None and serving.task is not None and self._pid == os.getpid():
            assert serving.reception is not None, "it has a task"
            retiring = serving.reception.retire(serving.handed_over)
            self._call(retiring).result(_PATIENCE)

    def get(self, queue: str, accept: frozenset[str]) -> Received | None:
        """Take a message of a queue, if there is one."""
        if self._desk is None:
            self._desk = self._started(_Serving(None))
        assert self._desk.reception is not None, "it has been started"
        delivery = self._call(self._desk.reception.get(queue)).result()
        if delivery is None:
            return None
        return Received(delivery, partial(self._settle, self._desk), accept)

    def hand_over(self, timeout: float | None) -> None:
        """Wait for a message, and have its consumer see to it, here.

        Args:
            timeout: Seconds; None: without end.

        Raises:
            TimeoutError: There was none in time.
            BrokerUnavailable: The broker cannot be reached any more.
        """
        while True:
            try:
                serving, what = self._arrived.get(timeout=timeout)
            except Empty:
                raise TimeoutError("timed out") from None
            consumer = serving.consumer
            assert consumer is not None, "what is asked for does not come by here"
            if self._serving.get(consumer) is not serving:
                # It has gone back.
                continue
            if not isinstance(what, Delivery):
                raise what
            serving.handed_over.add(what.tag)
            consumer.take(Received(what, partial(self._settle, serving), consumer.accept))
            return

    def close(self) -> None:
        """Give everything back that was not settled, and end. Idempotent."""
        atexit.unregister(self.close)
        if self._pid != os.getpid() or not self._thread.is_alive():
            return
        self._serving.clear()
        with suppress(TimeoutError):
            self._call(self._end()).result(_PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)

    def _call(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _settle(self, serving: _Serving, delivery: Delivery, requeue: bool | None) -> None:
        async def settle() -> bool:
            if serving.reception is None or serving.task is None:
                return False
            await serving.reception.end(delivery, requeue)
            return True

        serving.handed_over.discard(delivery.tag)
        is_alive = self._pid == os.getpid() and self._thread.is_alive()
        # Until it is done: a program may end right after.
        if not is_alive or not self._call(settle()).result():
            raise BrokerUnavailable(
                f"cannot settle message {delivery.message.id} of queue {delivery.queue}: the "
                "connection that it came by is closed or lost, so others get it"
            )

    def _started(self, serving: _Serving) -> _Serving:
        self._call(self._start(serving)).result()
        # A process that ends without closing it gives back what it has, too: last of all, so that
        # it comes before what the drivers do then.
        atexit.unregister(self.close)
        atexit.register(self.close)
        return serving

    async def _start(self, serving: _Serving) -> None:
        app, consumer = self._app, serving.consumer
        serving.reception = Reception(
            app.make_broker(),
            [] if consumer is None else list(consumer.queues),
            app.wall_clock,
            lambda delivery: self._arrived.put((serving, delivery)),
            limit=0 if consumer is None else consumer.prefetch_count or AT_ONCE,
        )
        serving.task = asyncio.create_task(serving.reception.run(), name="umbel-consumer")
        self._tasks.add(serving.task)
        opening = asyncio.create_task(serving.reception.opened.wait())
        await asyncio.wait([serving.task, opening], return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            opening.cancel()
            self._tasks.discard(serving.task)
            # Raises why it cannot be.
            await serving.task
        serving.task.add_done_callback(partial(self._ended, serving))

    def _ended(self, serving: _Serving, task: asyncio.Task[None]) -> None:
        serving.task = None
        self._tasks.discard(task)
        if serving is self._desk:
            self._desk = None
        elif not task.cancelled() and (error := task.exception()) is not None:
            self._arrived.put((serving, error))

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
