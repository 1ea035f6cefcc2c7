"""Brokers of a test's own, and the apps and worker processes that use them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from umbel import Umbel
from umbel.testing.servers import rabbitmq_server

from .site import Site

UrlOf = Callable[[str], str]
UrlMaker = Callable[[], str]


@pytest.fixture(scope="session")
def empty_rabbitmq() -> Iterator[UrlMaker]:
    """Gives a RabbitMQ with nothing in it: a virtual host of a server that starts slowly."""
    with ExitStack() as stack:
        urls: list[str] = []

        def empty_rabbitmq() -> str:
            if not urls:
                vhosts = [f"test-{number}" for number in range(12)]
                server = stack.enter_context(rabbitmq_server(vhosts=vhosts))
                urls.extend(server.url(vhost) for vhost in vhosts)
            return urls.pop()

        yield empty_rabbitmq


@pytest.fixture
def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> UrlOf:
    """Gives a broker of a kind, with nothing in it; but for RabbitMQ, it keeps results too."""

    def url_of(kind: str) -> str:
        match kind:
            case "memory":
                return f"memory://{tmp_path}"
            case "sqlite":
                return f"sqlite:///{tmp_path / 'queue.db'}"
            case "redis":
                url: str = request.getfixturevalue("redis_url")
                return url
            case _:
                make_url: UrlMaker = request.getfixturevalue("empty_rabbitmq")
                return make_url()

    return url_of


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, url_of: UrlOf) -> str:
    """A broker that keeps results too."""
    return url_of(request.param)


@pytest.fixture
async def app(url: str) -> AsyncIterator[Umbel]:
    """An app with a broker and a result backend of its own."""
    app = Umbel("test", broker=url, backend=url, set_as_current=False)
    yield app
    await app.aclose()


@pytest.fixture
def make_site(url_of: UrlOf, tmp_path: Path) -> Iterator[Callable[[str, str], Site]]:
    """Makes a site of tasks over a broker of a kind; beside RabbitMQ, results are in a file."""
    with ExitStack() as stack:

        def make_site(kind: str, tasks: str) -> Site:
            url = url_of(kind)
            backend = f"sqlite:///{tmp_path / 'results.db'}" if kind == "rabbitmq" else url
            site = Site(tmp_path, url, tasks, backend=backend)
            stack.callback(site.close)
            return site

        yield make_site
