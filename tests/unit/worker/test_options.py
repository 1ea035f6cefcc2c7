"""What a worker is called, which pool it has, and how much runs at once."""

from __future__ import annotations

import pytest

from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured
from umbel.worker.options import WorkerArguments, WorkerOptions, node_name, pool_kind, resolve


def options(given: WorkerArguments | None = None, **settings: object) -> WorkerOptions:
    app = Umbel("test", set_as_current=False, broker="memory://", changes=settings)
    return resolve(given or {}, app.conf)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "celery@a1.example.com"),
        ("mail", "mail@a1.example.com"),
        ("mail@other", "mail@other"),
        ("mail@%h", "mail@a1.example.com"),
        ("mail@%n", "mail@a1"),
        ("%n.%d@x", "a1.example.com@x"),
        ("100%%@x", "100%@x"),
        ("@x", "celery@x"),
        ("mail@", "mail@a1.example.com"),
    ],
)
def test_node_names(given: str | None, expected: str) -> None:
    assert node_name(given, host="a1.example.com") == expected


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("prefork", "prefork"),
        ("processes", "prefork"),
        ("celery.concurrency.prefork:TaskPool", "prefork"),
        ("threads", "threads"),
        ("solo", "solo"),
        ("asyncio", "asyncio"),
    ],
)
def test_pools_by_name(name: str, kind: str) -> None:
    assert pool_kind(name) == kind


@pytest.mark.parametrize("name", ["gevent", "celery.concurrency.gevent:TaskPool"])
def test_green_pools_go_by_their_names_and_by_celerys(name: str) -> None:
    assert pool_kind(name) == "gevent"


def test_an_unknown_pool_is_refused_with_those_there_are() -> None:
    with pytest.raises(ImproperlyConfigured, match="asyncio, gevent, eventlet and solo"):
        pool_kind("fibers")


def test_arguments_win_over_settings() -> None:
    resolved = options(
        {"pool": "threads", "concurrency": 3, "prefetch_multiplier": 2},
        worker_pool="solo",
        worker_concurrency=5,
        worker_prefetch_multiplier=8,
    )

    assert (resolved.pool, resolved.concurrency, resolved.prefetch_multiplier) == ("threads", 3, 2)


def test_settings_win_over_defaults() -> None:
    resolved = options(worker_pool="threads", worker_concurrency=5, worker_prefetch_multiplier=8)

    assert (resolved.pool, resolved.concurrency, resolved.prefetch_multiplier) == ("threads", 5, 8)


def test_without_a_prefetch_multiplier_the_pool_decides() -> None:
    assert options().prefetch_multiplier is None


def test_concurrency_defaults_to_what_the_pool_is_good_at() -> None:
    assert options({"pool": "solo", "concurrency": 8}).concurrency == 1
    assert options({"pool": "asyncio"}).concurrency == 1000
    assert options({"pool": "threads"}).concurrency >= 1
    assert options({"pool": "threads", "concurrency": "auto"}).concurrency >= 1
    assert options({"pool": "threads", "concurrency": "4"}).concurrency == 4


@pytest.mark.parametrize("concurrency", ["many", -1])
def test_a_concurrency_that_is_none_is_refused(concurrency: int | str) -> None:
    with pytest.raises(ImproperlyConfigured, match="concurrency must be a number"):
        options({"pool": "threads", "concurrency": concurrency})


@pytest.mark.parametrize("given", ["mail, video", ["mail", "video"]])
def test_queues_are_a_list_or_comma_separated(given: str | list[str]) -> None:
    resolved = options({"queues": given, "exclude_queues": "video"})

    assert resolved.queues == ("mail", "video")
    assert resolved.exclude_queues == ("video",)
