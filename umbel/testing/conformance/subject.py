"""What the contracts of pools know of the pool that they are asked about."""

from __future__ import annotations

from pathlib import Path

import pytest

from umbel.testing.conformance.running import Gate

__all__ = ["Contract"]


class Contract:
    """The base of both contracts."""

    concurrent = True
    """Whether ``size`` can be more than one."""
    processes = False
    """Whether tasks run in processes of their own, which may die without the worker dying."""
    hold = "hold"
    """The waiting task: ``ahold`` where one that is not a coroutine would stop the test too."""

    @pytest.fixture
    def gate(self, tmp_path: Path) -> Gate:
        """What the waiting task waits for."""
        return Gate(tmp_path / "gate")
