"""Prefork pools for tests, and what tests see of their processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import psutil

from umbel.pools.prefork import PreforkPool
from umbel.protocols import Runner
from umbel.testing.conformance.subject import Contract

__all__ = ["Family", "Forked", "renewed", "runs", "until"]

Family = Callable[[], set[psutil.Process]]
"""The processes that a pool under test has started."""

_PATIENCE = 60.0


async def until(claim: Callable[[], bool]) -> None:
    """Wait for the claim to become true."""
    async with asyncio.timeout(_PATIENCE):
        while not claim():  # noqa: ASYNC110 - processes set no event
            await asyncio.sleep(0.005)


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def renewed(pool: PreforkPool, before: list[int]) -> bool:
    """Whether the pool is full again, without these processes."""
    return len(pool.pids) == pool.size and not set(before) & set(pool.pids)


class Forked(Contract):
    processes = True
    start_method: Literal["fork", "spawn", "forkserver"] = "fork"

    def make(self, make_runner: Callable[[], Runner], size: int, **options: Any) -> PreforkPool:
        return PreforkPool(make_runner, size, start_method=self.start_method, **options)
