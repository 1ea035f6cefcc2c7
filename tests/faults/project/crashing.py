"""The tasks again, in a worker that is killed at its ``CRASH_AT``-th call to broker or backend."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tasks import app, late  # noqa: F401 - the tasks are what the worker looks for

from umbel.protocols import Broker, ResultBackend
from umbel.testing.faults import FaultPlan, FaultyBackend, faulty_broker

T = TypeVar("T")


class Crash(FaultPlan):
    """Kills this process at one call: before it is made, or when it has been."""

    def __init__(self) -> None:
        super().__init__()
        self.at, self.when = int(os.environ["CRASH_AT"]), os.environ["CRASH_WHEN"]
        self.count = 0

    async def run(self, method: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make the call, or not."""
        self.count += 1
        if self.count == self.at and self.when == "before":
            os.killpg(0, signal.SIGKILL)
        returned = await call()
        if self.count >= self.at and self.when == "after":
            os.killpg(0, signal.SIGKILL)
        return returned


class CrashingApp(type(app)):  # type: ignore[misc]
    """The app whose workers crash."""

    plan = Crash()

    def make_broker(self) -> Broker:
        return faulty_broker(super().make_broker(), self.plan)

    def make_backend(self) -> ResultBackend:
        return FaultyBackend(super().make_backend(), self.plan)


app.__class__ = CrashingApp
