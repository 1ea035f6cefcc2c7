"""What comes after a task, as calls to make."""

from __future__ import annotations

from typing import Any

import pytest

from umbel.canvas.follow_up import Wave, after_failure, after_success, start
from umbel.canvas.plan import ids_after
from umbel.exceptions import InvalidTaskError
from umbel.wire import chords

from .dicts import chain, group, sig

JSON = frozenset({"application/json"})


Made = list[tuple[str, tuple[Any, ...], dict[str, Any]]]


def made(wave: Wave) -> Made:
    """Tasks, arguments and options, with ids left out, which are random to the reader."""
    return [
        (step.signature["task"], step.args, _without_id(step.signature["options"]))
        for step in wave.steps
    ]


def _without_id(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "task_id"}


PLACE = {"root_id": "id", "parent_id": "id"}


def succeed(**follows: Any) -> Wave:
    given = {"callbacks": None, "chain": None, **follows}
    return after_success(5, id="id", root_id=None, **given)


def test_nothing_follows_what_has_nothing() -> None:
    assert succeed() == Wave()


def test_callbacks_come_first_and_the_next_link_takes_the_rest_along() -> None:
    wave = succeed(callbacks=[sig("a", 1)], chain=[sig("d"), sig("c"), sig("b")])

    assert made(wave) == [
        ("a", (5, 1), PLACE),
        ("b", (5,), {**PLACE, "chain": [sig("d"), sig("c")]}),
    ]


def test_the_last_link_carries_no_chain() -> None:
    assert made(succeed(chain=[sig("b")])) == [("b", (5,), PLACE)]


def test_a_callback_keeps_its_own_options_but_its_place() -> None:
    options = {"queue": "q", "root_id": "old", "task_id": "x"}

    [step] = succeed(callbacks=[sig("a", options=options)]).steps

    assert step.signature["options"] == {"queue": "q", "task_id": "x", **PLACE}


def test_error_callbacks_get_the_id() -> None:
    wave = after_failure(id="id", root_id="root", errbacks=[sig("a", 1)])

    assert made(wave) == [("a", ("id", 1), {"root_id": "root", "parent_id": "id"})]


def test_whoever_ends_a_task_once_more_makes_the_same_ids() -> None:
    def ids(id_: str) -> list[str]:
        links = [sig("a"), chain(sig("b"), sig("c"))]
        wave = after_success(5, id=id_, root_id=None, callbacks=links, chain=None)
        later = [link["options"]["task_id"] for link in wave.steps[1].signature["options"]["chain"]]
        return [step.signature["options"]["task_id"] for step in wave.steps] + later

    assert ids("x") == ids("x")
    assert len({*ids("x"), *ids("y")}) == 6


def test_a_link_on_success_and_one_on_failure_do_not_share_an_id() -> None:
    good = succeed(callbacks=[sig("a")]).children
    bad = after_failure(id="id", root_id=None, errbacks=[sig("a")]).children

    assert good != bad


def test_a_chain_as_a_callback_starts_with_its_first_task() -> None:
    [(task, args, options)] = made(succeed(callbacks=[chain(sig("a", 1), sig("b"), sig("c"))]))

    assert (task, args) == ("a", (5, 1))
    assert [link["task"] for link in options["chain"]] == ["c", "b"]


def test_a_chain_in_a_chain_comes_before_what_was_to_come() -> None:
    [(task, args, options)] = made(succeed(chain=[sig("z"), chain(sig("a"), sig("b"))]))

    assert (task, args) == ("a", (5,))
    assert [link["task"] for link in options["chain"]] == ["z", "b"]


def test_a_chains_options_are_about_its_end_and_its_error_callbacks_about_all() -> None:
    options = {"task_id": "end", "link": [sig("l")], "link_error": sig("e")}
    first, second = sig("a", options={"link_error": sig("own")}), sig("b")

    [(_, _, merged)] = made(succeed(callbacks=[chain(first, second, options=options)]))

    [last] = merged["chain"]
    assert merged["link_error"] == [sig("own"), sig("e")]
    assert last["options"] == {"task_id": "end", "link": [sig("l")], "link_error": [sig("e")]}


def test_an_immutable_chain_starts_without_the_value() -> None:
    wave = succeed(callbacks=[chain(sig("a", 1), sig("b"), immutable=True)])

    assert made(wave)[0][1] == (1,)
    assert succeed(callbacks=[chain()]) == Wave()


def test_a_group_starts_all_its_members_and_is_one_child() -> None:
    wave = succeed(chain=[group(sig("a", 1), group(sig("b")), options={"task_id": "g"})])

    assert made(wave) == [
        ("a", (5, 1), {**PLACE, "group_id": "g", "group_index": 0}),
        ("b", (5,), {**PLACE, "group_id": "g", "group_index": 1}),
    ]
    [((id_, parent), members)] = wave.children
    assert (id_, parent) == ("g", None)
    assert [member[0][0] for member in members] == [
        step.signature["options"]["task_id"] for step in wave.steps
    ]


def test_what_is_chained_behind_a_group_waits_for_all_of_it() -> None:
    wave = succeed(chain=[sig("d"), sig("c"), group(sig("a"), sig("b"), options={"task_id": "g"})])

    [expected] = wave.expect
    assert (expected.chord_id, expected.size) == ("g", 2)
    assert chords.read(expected.body or b"", accept=JSON).signature["task"] == "c"
    for _, _, options in made(wave):
        assert options["chord"]["task"] == "c"
        assert [link["task"] for link in options["chord"]["options"]["chain"]] == ["d"]


@pytest.mark.parametrize("bad", [None, "a", {}, {"task": 3}, ["a"]])
def test_what_is_no_signature_says_so(bad: Any) -> None:
    with pytest.raises(InvalidTaskError, match="is not a signature"):
        start(bad, (), {}, ids_after("x"))


def test_a_signature_is_not_changed_by_being_started() -> None:
    for original in (sig("a", 1), chain(sig("a"), sig("b")), group(sig("a"))):
        before = repr(original)

        start(original, (2,), {"x": 1}, ids_after("x"), rest=[sig("b")])

        assert repr(original) == before
