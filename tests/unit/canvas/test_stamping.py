"""Stamps: put on by name or by visitors, on every part of a workflow."""

from __future__ import annotations

from typing import Any

import pytest

from umbel import Umbel, chain, chord, group
from umbel.canvas import GroupStampingVisitor, StampingVisitor


@pytest.fixture
def app() -> Umbel:
    return Umbel("stamps", broker="memory://stamps", set_as_current=False)


def sig(app: Umbel, name: str) -> Any:
    return app.signature(name)


class Diary(StampingVisitor):
    """Notes what it is told of, and stamps tasks with their names."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        self.told.append(f"task {sig.task}")
        return {"name": sig.task, "stamped_headers": ["name"]}

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        self.told.append("group")
        return {"in_group": True}

    def on_group_end(self, group: Any, **headers: Any) -> None:
        self.told.append("group ends")

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        self.told.append("chain")
        return {"in_chain": True}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:
        self.told.append("chain ends")

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        self.told.append("body")
        return {"is_body": True}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
        self.told.append(f"callback {callback.task}")
        return {"is_callback": True}

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any]:
        self.told.append(f"errback {errback.task}")
        return {"is_errback": True}


def stamps(signature: Any) -> dict[str, Any]:
    return {name: signature.options[name] for name in signature.options["stamped_headers"]}


def test_a_visitor_is_told_of_every_part_in_order(app: Umbel) -> None:
    first = sig(app, "a")
    first.link(sig(app, "l"))
    first.link_error(sig(app, "e"))
    flow = chord([first, chain(sig(app, "b"), sig(app, "c"))], sig(app, "d"))
    diary = Diary()

    flow.stamp(diary)

    assert diary.told == [
        "group",
        "callback l",
        "task l",
        "errback e",
        "task e",
        "task a",
        "chain",
        "task b",
        "task c",
        "chain ends",
        "group ends",
        "body",
        "task d",
    ]


def test_stamps_of_a_composition_are_on_its_parts(app: Umbel) -> None:
    member, last = sig(app, "a"), sig(app, "b")
    member.link(sig(app, "l"))
    flow = chain(group([member]), sig(app, "x"), last)

    flow.stamp(Diary(), tenant="t")

    assert stamps(flow.tasks[-1]) == {"tenant": "t", "in_chain": True, "name": "b"}


def test_links_do_not_get_the_stamps_of_what_they_are_linked_to(app: Umbel) -> None:
    task = sig(app, "a").set(stamped_headers=["own"], own=1)
    task.link(sig(app, "l"))

    task.stamp(tenant="t")

    assert stamps(task) == {"tenant": "t", "own": 1}
    assert stamps(task.options["link"][0]) == {"tenant": "t"}


@pytest.mark.parametrize(("append", "value"), [(False, 2), (True, [2, 1])])
def test_a_stamp_that_is_there_is_replaced_or_becomes_a_list(
    app: Umbel, append: bool, value: Any
) -> None:
    task = sig(app, "a")

    task.stamp(n=1)
    task.stamp(n=2, append_stamps=append)

    assert stamps(task) == {"n": value}


def test_a_visitor_wins_over_names_and_names_over_what_is_there(app: Umbel) -> None:
    task = sig(app, "a").set(stamped_headers=["name"], name="old")

    task.stamp(Diary(), name="given")

    assert stamps(task) == {"name": "a"}


def test_groups_stamp_their_ids(app: Umbel) -> None:
    inner = group([sig(app, "a")])
    outer = group([inner, sig(app, "b")])

    outer.stamp(GroupStampingVisitor())

    assert outer.tasks[1].options["groups"] == [outer.id]


def test_stamps_go_along_when_a_task_is_sent_and_when_it_replaces_itself(app: Umbel) -> None:
    seen: list[Any] = []

    @app.task(bind=True)
    def note(self: Any) -> None:
        seen.append((self.request.stamped_headers, self.request.stamps))

    @app.task(bind=True)
    def swap(self: Any) -> Any:
        return self.replace(note.s())

    for task in (note, swap):
        flow = task.s()
        flow.stamp(tenant="t")
        flow.apply()

    assert seen == [(["tenant"], {"tenant": "t"})] * 2
