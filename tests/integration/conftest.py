"""Where the integrated parts meet: a private Redis where there is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from umbel.testing.servers import ServerMissing, redis_server, required


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A Redis with nothing in it, gone after the test."""
    try:
        with redis_server() as server:
            yield server.url()
    except ServerMissing as missing:
        if required("redis"):
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def redis_for_module() -> Iterator[str]:
    """As ``redis_url``, for all tests of a module."""
    try:
        with redis_server() as server:
            yield server.url()
    except ServerMissing as missing:
        if required("redis"):
            raise
        pytest.skip(str(missing))
