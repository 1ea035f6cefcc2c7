"""What a worker says of itself when it starts."""

from __future__ import annotations

from umbel.model import Exchange, Queue
from umbel.worker.banner import Introduction, banner


def introduction(**changes: object) -> Introduction:
    fields: dict[str, object] = {
        "hostname": "worker@a1",
        "version": "1.2.3",
        "app": "shop:0x7f",
        "broker": "redis://:**@localhost/0",
        "backend": "disabled://",
        "pool": "prefork",
        "concurrency": 4,
        "queues": [Queue("mail"), Queue("news", Exchange("media", "topic"), "news.#")],
        "tasks": ["shop.pay", "celery.backend_cleanup", "shop.bill"],
    }
    return Introduction(**{**fields, **changes})  # type: ignore[arg-type]


def test_it_names_everything_one_has_to_know() -> None:
    text = banner(introduction())

    for part in (
        "worker@a1",
        "1.2.3",
        "shop:0x7f",
        "redis://:**@localhost/0",
        "prefork, 4 at once",
    ):
        assert part in text


def test_it_lists_the_tasks_in_order_without_built_in_ones() -> None:
    lines = banner(introduction()).splitlines()

    assert lines[lines.index("[tasks]") + 1 :] == ["  . shop.bill", "  . shop.pay"]


def test_it_says_how_queues_are_reached_where_not_by_their_names() -> None:
    assert "mail, news (exchange media, topic, news.#)" in banner(introduction())


def test_it_says_so_when_there_is_nothing_to_run() -> None:
    assert "include" in banner(introduction(tasks=["celery.chain"]))
