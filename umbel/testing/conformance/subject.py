"""What the contracts of pools know of the pool that they are asked about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from umbel.protocols import Pool, Runner
from umbel.testing.conformance.running import Gate, MakePool

__all__ = ["Contract"]


class Contract:
    """The base of both contracts."""

    concurrent = True
    """Whether ``size`` can be more than one."""
    processes = False
    """Whether tasks run in processes of their own, which may die without the worker dying."""
    hold = "hold"
    """The waiting task: ``ahold`` where one that is not a coroutine would stop the test too."""
    size = 1
    """How many run at once where a test does not say."""

    def make(self, make_runner: Callable[[], Runner], size: int, **options: Any) -> Pool:
        """The pool that is asked about, not prepared yet.

        Args:
            options: What tests of one kind of pool give it besides.
        """
        raise NotImplementedError

    @pytest.fixture
    async def make_pool(self) -> AsyncIterator[MakePool]:
        """Makes one, prepared and started, as often as a test likes; stops them in the end."""
        pools: list[Pool] = []

        async def make_pool(
            make_runner: Callable[[], Runner], *, size: int | None = None, **options: Any
        ) -> Pool:
            pool = self.make(make_runner, self.size if size is None else size, **options)
            pool.prepare()
            pools.append(pool)
            await pool.start()
            return pool

        yield make_pool
        for pool in pools:
            await pool.stop(grace=0)

    @pytest.fixture
    def gate(self, tmp_path: Path) -> Gate:
        """What the waiting task waits for."""
        return Gate(tmp_path / "gate")
