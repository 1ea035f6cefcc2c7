"""``consumer.pool``: has functions called in the worker's pool."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from umbel.execution.calls import request_for, result_of
from umbel.model import Outcome, Request
from umbel.protocols import Clock, Pool
from umbel.worker.fetching.credit import Credit
from umbel.worker.pools.base import BasePool

__all__ = ["Calls"]

logger = logging.getLogger(__name__)


class _Call:
    def __init__(self, request: Request, options: Mapping[str, Any]) -> None:
        self.request = request
        self.accepted: Callable[..., Any] | None = options.get("accept_callback")
        self.returned: Callable[..., Any] | None = options.get("callback")
        self.failed: Callable[..., Any] | None = options.get("error_callback")


class Calls(BasePool):
    """Calls functions in the pool of a running worker, as soon as there is room."""

    def __init__(
        self, pool: Pool, credit: Credit, keys: Iterator[int], clock: Clock, app: Any
    ) -> None:
        super().__init__(pool.size, app=app)
        self._state = self.RUN
        self._runs_in = pool
        self._credit = credit
        self._keys = keys
        self._clock = clock
        self._waiting: deque[_Call] = deque()
        self._under_way: dict[int, _Call] = {}

    @property
    def num_processes(self) -> int:
        """How many run at once."""
        return self._runs_in.size

    def apply_async(
        self,
        target: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Have ``target`` called in the pool; both it and its arguments must be picklable.

        Args:
            options: ``accept_callback(pid, when)`` is called when the pool has it, ``callback``
                with what it returned, ``error_callback`` with what it raised: all of them here,
                on the worker's loop.
        """
        request = request_for(next(self._keys), target, args or (), kwargs or {})
        self._waiting.append(_Call(request, options))
        self._credit.changed()

    async def run(self) -> None:
        """Hand calls to the pool, until cancelled."""
        while True:
            if not self._waiting or self._runs_in.free <= 0:
                await self._credit.wait()
                continue
            call = self._waiting.popleft()
            self._under_way[call.request.key] = call
            await self._runs_in.submit([call.request])
            if call.accepted is not None:
                _tell(call.accepted, os.getpid(), self._clock.monotonic())

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """Tell who has asked for those of the outcomes that are of calls."""
        for outcome in outcomes:
            call = self._under_way.pop(outcome.key, None)
            if call is None:
                continue
            has_returned, value = result_of(outcome)
            if has_returned:
                if call.returned is not None:
                    _tell(call.returned, value)
            elif call.failed is not None:
                _tell(call.failed, value)
            else:
                logger.error("A call in the pool has failed: %r", value, exc_info=value)


def _tell(callback: Callable[..., Any], *args: Any) -> None:
    try:
        callback(*args)
    except Exception:
        # User code; the worker goes on.
        logger.exception("Callback of a call in the pool raised: %r", callback)
