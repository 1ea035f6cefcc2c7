"""Pools as programs written for Celery bring them along."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from umbel.compat.concurrency import apply_target
from umbel.worker.pools.base import BasePool

__all__ = ["BlockingPool", "ProcessesPool", "ThreadsPool"]


class ThreadsPool(BasePool):
    """Has functions called in threads; can grow."""

    def on_start(self) -> None:
        self.executor = ThreadPoolExecutor(100)

    def on_stop(self) -> None:
        self.executor.shutdown()

    def on_terminate(self) -> None:
        self.executor.shutdown(wait=False, cancel_futures=True)

    def on_apply(
        self,
        target: Any,
        args: Any = (),
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        **_: Any,
    ) -> Any:
        return self.executor.submit(apply_target, target, args, kwargs, callback, accept_callback)

    def grow(self, n: int = 1) -> None:
        self.limit += n

    def shrink(self, n: int = 1) -> None:
        self.limit -= n


class ProcessesPool(BasePool):
    """Has functions called in processes that are started for it; can end them."""

    def on_start(self) -> None:
        fork = multiprocessing.get_context("fork")
        self.executor = ProcessPoolExecutor(self.limit, fork)

    def on_stop(self) -> None:
        self.executor.shutdown()

    on_terminate = on_stop

    def on_apply(
        self,
        target: Any,
        args: Any = (),
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        error_callback: Any = None,
        **_: Any,
    ) -> Any:
        def ended(future: Future[Any]) -> None:
            error = future.exception()
            if error is None:
                callback(future.result())
            else:
                error_callback(error)

        future = self.executor.submit(target, *args, **kwargs)
        accept_callback(next(iter(self.executor._processes)), time.monotonic())
        future.add_done_callback(ended)
        return future

    def terminate_job(self, pid: int, signal: Any = signal.SIGTERM) -> None:
        os.kill(pid, signal)


class BlockingPool(BasePool):
    """Calls functions where it is called, as Celery's solo pool does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limit = 1

    on_apply = staticmethod(apply_target)
