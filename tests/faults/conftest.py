"""A site of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .site import Site, somewhere


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site on the kind of broker that the test asks for, with short leases."""
    with somewhere(request.param, tmp_path, lease=3.0) as site:
        yield site
