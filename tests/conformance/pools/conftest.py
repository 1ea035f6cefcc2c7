"""The processes that a pool under test starts, apart from servers and whatever else is there."""

from __future__ import annotations

import psutil
import pytest

from .prefork import Family


@pytest.fixture
def family() -> Family:
    """The children, and theirs, that this process got since the test began."""
    this = psutil.Process()
    others = set(this.children(recursive=True))
    return lambda: set(this.children(recursive=True)) - others
