"""What comes after a task, as calls to make."""

from __future__ import annotations

from typing import Any

import pytest

from umbel.canvas.follow_up import after_failure, after_success, call
from umbel.exceptions import InvalidTaskError


def sig(task: str, *args: Any, options: Any = None, **fields: Any) -> dict[str, Any]:
    return {"task": task, "args": list(args), "kwargs": {}, "options": options or {}, **fields}


def chain(*tasks: Any, **fields: Any) -> dict[str, Any]:
    return {**sig("celery.chain", subtask_type="chain", **fields), "kwargs": {"tasks": list(tasks)}}


def steps(made: Any) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    return [(step.signature["task"], step.args, step.signature["options"]) for step in made]


PLACE = {"root_id": "id", "parent_id": "id"}


def succeed(**follows: Any) -> Any:
    given = {"callbacks": None, "chain": None, **follows}
    return steps(after_success(5, id="id", root_id=None, **given))


def test_nothing_follows_what_has_nothing() -> None:
    assert succeed() == []


def test_callbacks_come_first_and_the_next_link_takes_the_rest_along() -> None:
    made = succeed(callbacks=[sig("a", 1)], chain=[sig("d"), sig("c"), sig("b")])

    assert made == [
        ("a", (5, 1), PLACE),
        ("b", (5,), {**PLACE, "chain": [sig("d"), sig("c")]}),
    ]


def test_the_last_link_carries_no_chain() -> None:
    assert succeed(chain=[sig("b")]) == [("b", (5,), PLACE)]


def test_a_callback_keeps_its_own_options_but_its_place() -> None:
    options = {"queue": "q", "root_id": "old", "task_id": "x"}

    [(_, _, merged)] = succeed(callbacks=[sig("a", options=options)])

    assert merged == {"queue": "q", "task_id": "x", **PLACE}


def test_error_callbacks_get_the_id() -> None:
    made = steps(after_failure(id="id", root_id="root", errbacks=[sig("a", 1)]))

    assert made == [("a", ("id", 1), {"root_id": "root", "parent_id": "id"})]


def test_a_chain_as_a_callback_starts_with_its_first_task() -> None:
    made = succeed(callbacks=[chain(sig("a", 1), sig("b"), sig("c"))], chain=None)

    assert made == [("a", (5, 1), {**PLACE, "chain": [sig("c"), sig("b")]})]


def test_a_chain_in_a_chain_comes_before_what_was_to_come() -> None:
    made = succeed(chain=[sig("z"), chain(sig("a"), sig("b"))])

    assert made == [("a", (5,), {**PLACE, "chain": [sig("z"), sig("b")]})]


def test_a_chains_options_are_about_its_end_and_its_error_callbacks_about_all() -> None:
    options = {"task_id": "end", "link": [sig("l")], "link_error": sig("e")}

    [(_, _, first)] = succeed(
        callbacks=[chain(sig("a", options={"link_error": sig("own")}), sig("b"), options=options)]
    )

    [last] = first["chain"]
    assert first["link_error"] == [sig("own"), sig("e")]
    assert last["options"] == {"task_id": "end", "link": [sig("l")], "link_error": [sig("e")]}


def test_an_immutable_chain_starts_without_the_value() -> None:
    assert succeed(callbacks=[chain(sig("a", 1), immutable=True)])[0][1] == (1,)
    assert succeed(callbacks=[chain()]) == []


@pytest.mark.parametrize("bad", [None, "a", {}, {"task": 3}, ["a"]])
def test_what_is_no_signature_says_so(bad: Any) -> None:
    with pytest.raises(InvalidTaskError, match="is not a signature"):
        call(bad, (), {})


@pytest.mark.parametrize("kind", ["group", "chord", "chunks"])
def test_what_cannot_be_started_yet_says_so(kind: str) -> None:
    with pytest.raises(InvalidTaskError, match="workflows release"):
        call(sig("celery." + kind, subtask_type=kind), (), {})


def test_a_signature_is_not_changed_by_being_called() -> None:
    original = sig("a", 1)

    call(original, (2,), {"x": 1}, rest=[sig("b")])

    assert original == sig("a", 1)
