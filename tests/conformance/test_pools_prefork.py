"""The prefork pool against the contract, and what only processes can do."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import psutil
import pytest

from umbel.model import Failed, Message, Outcome, Request, Revoked, Succeeded
from umbel.pools.prefork import PreforkPool
from umbel.protocols import Runner
from umbel.testing.conformance.pool import (
    ContractRunner,
    Gate,
    MakePool,
    PoolContract,
    collect,
    feed,
    request,
)

_PATIENCE = 20.0


async def until(claim: Callable[[], bool]) -> None:
    """Wait for the claim to become true."""
    async with asyncio.timeout(_PATIENCE):
        while not claim():
            await asyncio.sleep(0.005)


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Prefork(PoolContract):
    processes = True
    start_method: Literal["fork", "spawn", "forkserver"] = "fork"

    @pytest.fixture
    async def make_pool(self) -> AsyncIterator[Callable[..., object]]:
        pools: list[PreforkPool] = []

        async def make(
            make_runner: Callable[[], Runner], *, size: int = 1, **options: int
        ) -> PreforkPool:
            pool = PreforkPool(
                make_runner,
                size,
                start_method=self.start_method,
                **options,  # type: ignore[arg-type]
            )
            pool.prepare()
            await pool.start()
            pools.append(pool)
            return pool

        yield make
        for pool in pools:
            await pool.stop(grace=0)


class TestPreforkPool(Prefork):
    pass
