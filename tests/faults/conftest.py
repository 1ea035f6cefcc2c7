"""A private Redis for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from umbel.testing.servers import ServerMissing, redis_server, required

from .site import Site, somewhere


@pytest.fixture
def redis_url() -> Iterator[str]:
    try:
        with redis_server() as server:
            yield server.url()
    except ServerMissing as missing:
        if required("redis"):
            raise
        pytest.skip(str(missing))


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site on the kind of broker that the test asks for, with short leases."""
    try:
        with somewhere(request.param, tmp_path, lease=3.0) as site:
            yield site
    except ServerMissing as missing:
        if required(request.param):
            raise
        pytest.skip(str(missing))
