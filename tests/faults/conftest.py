"""A private Redis for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from umbel.testing.servers import ServerMissing, redis_server, required


@pytest.fixture
def redis_url() -> Iterator[str]:
    try:
        with redis_server() as server:
            yield server.url()
    except ServerMissing as missing:
        if required("redis"):
            raise
        pytest.skip(str(missing))
