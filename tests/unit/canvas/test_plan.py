"""What signatures come to: cases of what Celery's canvas does with each."""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec
import pytest

from umbel.canvas import plan
from umbel.canvas.plan import Call, Chain, Chord, Group, Node, Rules, ends
from umbel.canvas.waves import Step, first_wave, render

from .dicts import chain, chord, group, sig

A, B, C, D = (sig(name) for name in "abcd")


def rules(**more: Any) -> Rules:
    numbers = count(1)
    return Rules(lambda: f"id{next(numbers)}", **more)


def drawn(node: Node | None) -> str:
    """A tree in short: ``a|b`` is a chain, ``(a,b)`` a group, ``(a,b)>c`` a chord."""
    match node:
        case None:
            return "nothing"
        case Call(signature):
            return str(signature["task"]).removeprefix("celery.")
        case Chain(steps):
            return "|".join(map(drawn, steps))
        case Group(_, members):
            return f"({','.join(map(drawn, members))})"
        case Chord(_, header, body):
            return f"({','.join(map(drawn, header))})>{drawn(body)}"


@pytest.mark.parametrize(
    ("signature", "tree"),
    [
        (A, "a"),
        (chain(A, B, C), "a|b|c"),
        (chain(A, chain(B, C), D), "a|b|c|d"),
        (chain(A), "a"),
        (chain(), "nothing"),
        (group(A, B), "(a,b)"),
        (group(), "()"),
        (group(A), "(a)"),
        (group(A, group(B, group(C))), "(a,b,c)"),
        (group(A, chain()), "(a)"),
        (chain(A, group(B)), "a|b"),
        (chain(A, group(chain(B, C)), D), "a|b|c|d"),
        (chain(A, group(B, C)), "a|(b,c)"),
        (chain(group(A, B), C), "(a,b)>c"),
        (chain(group(A, B), C, D), "(a,b)>c|d"),
        (chain(group(A, B), group(C, D)), "(a,b)>(c,d)"),
        (chain(group(A, B), group(C, D), A), "(a,b)>(c,d)>a"),
        (chain(A, group(), B), "a|b"),
        (chain(group(), A), "a"),
        (chain(group(), group()), "()"),
        (chord([A, B], C), "(a,b)>c"),
        (chord(group(A, B), C), "(a,b)>c"),
        (chord([A], C), "(a)>c"),
        (chord([], C), "()>c"),
        (chord([A], None), "(a)"),
        (chord([A, group(B, C)], D), "(a,b,c)>d"),
        (chord([A, chain(B, group(C, D))], D), "(a,b|(c,d)>accumulate)>d"),
        (chord([chord([A], group(B, C))], D), "((a)>(b,c)>accumulate)>d"),
        (chord([A], chain(B, C)), "(a)>b|c"),
        ({**A, "options": {"chain": [C, B]}}, "a|b|c"),
        (group(A, B, options={"chain": [D, C]}), "(a,b)>c|d"),
        (chord([A], group(B, C), options={"chain": [D]}), "(a)>(b,c)>d"),
    ],
)
def test_compositions_are_flattened_and_upgraded(signature: Any, tree: str) -> None:
    assert drawn(plan.compile(signature, rules())) == tree


def test_chunks_are_a_group_of_portions() -> None:
    chunks = sig("celery.chunks", immutable=True)
    chunks["kwargs"] = {"task": A, "it": [[1], [2], [3]], "n": 2}

    node = plan.compile(chunks, rules())

    assert isinstance(node, Group)
    portions = [member.signature for member in node.members if isinstance(member, Call)]
    assert [portion["kwargs"]["it"] for portion in portions] == [[[1], [2]], [[3]]]
    assert {portion["options"]["route_name"] for portion in portions} == {"a"}


def options_of(node: Node | None, task: str) -> dict[str, Any]:
    match node:
        case Call(signature) if signature["task"] == task:
            return dict(signature["options"])
        case Chain(steps):
            found = [options_of(step, task) for step in steps]
        case Group(_, members):
            found = [options_of(member, task) for member in members]
        case Chord(_, header, body):
            found = [options_of(each, task) for each in (*header, body)]
        case _:
            found = []
    return next((each for each in found if each), {})


LINK, ERR = sig("link"), sig("err")


@pytest.mark.parametrize(
    ("signature", "about", "task", "value"),
    [
        # A chain's options: its id, place and callbacks are those of its end.
        (chain(A, B, options={"task_id": "x"}), "task_id", "b", "x"),
        (chain(A, B, options={"link": [LINK]}), "link", "b", [LINK]),
        (chain(A, B, options={"link": [LINK]}), "link", "a", None),
        (chain(A, B, options={"link_error": ERR}), "link_error", "a", [ERR]),
        (chain(A, B, options={"link_error": ERR}), "link_error", "b", [ERR]),
        (chain(A, B, options={"queue": "q"}), "queue", "a", "q"),
        (chain(A, B, options={"queue": "q"}), "queue", "b", None),
        (chain(A, chain(B, C, options={"queue": "q"})), "queue", "b", "q"),
        # A group's are for each of its members, and win.
        (group(sig("a", options={"queue": "p"}), options={"queue": "q"}), "queue", "a", "q"),
        (group(A, options={"task_id": "g"}), "task_id", "a", "id1"),
        (
            group(sig("a", options={"link_error": [LINK]}), options={"link_error": ERR}),
            "link_error",
            "a",
            [LINK, ERR],
        ),
        # A chord's are for both, but delays for the header, and callbacks for the body.
        (chord([A], B, options={"queue": "q"}), "queue", "a", "q"),
        (chord([A], B, options={"queue": "q"}), "queue", "b", "q"),
        (chord([A], B, options={"countdown": 3}), "countdown", "a", 3),
        (chord([A], B, options={"countdown": 3}), "countdown", "b", None),
        (chord([A], B, options={"link": [LINK]}), "link", "b", [LINK]),
        (chord([A], B, options={"link": [LINK]}), "link", "a", None),
        (chord([A], B, options={"link_error": ERR}), "link_error", "b", [ERR]),
        (chord([A], B, options={"link_error": ERR}), "link_error", "a", None),
        (chord([A], B, options={"task_id": "x"}), "task_id", "b", "x"),
        (
            chord([A], sig("b", options={"task_id": "b"}), options={"task_id": "x"}),
            "task_id",
            "b",
            "b",
        ),
        # Stamps stay.
        (
            group(sig("a", options={"stamped_headers": ["s"], "s": 1}), options={"s": 2}),
            "s",
            "a",
            1,
        ),
    ],
)
def test_options_go_where_they_belong(signature: Any, about: str, task: str, value: Any) -> None:
    assert options_of(plan.compile(signature, rules()), task).get(about) == value


def test_error_callbacks_go_to_headers_where_the_settings_say_so() -> None:
    node = plan.compile(chord([A], B, options={"link_error": ERR}), rules(errbacks_on_headers=True))

    assert options_of(node, "a")["link_error"] == [{**ERR, "immutable": True}]
    assert options_of(node, "b")["link_error"] == [ERR]


def test_ids_are_fixed_once() -> None:
    node = plan.compile(chord([A, chain(B, C)], D), rules())
    assert node is not None

    again = plan.compile(render(node), rules())

    assert again is not None
    assert render(again) == render(node)


def wave(signature: Any, *args: Any, **more: Any) -> list[Any]:
    node = plan.compile(signature, rules())
    assert node is not None
    return [*first_wave(node, args, **more)]


def test_a_chains_first_step_takes_the_others_along_in_reverse() -> None:
    [step] = wave(chain(A, B, C), 1)

    assert (step.signature["task"], step.args) == ("a", (1,))
    assert [link["task"] for link in step.signature["options"]["chain"]] == ["c", "b"]


def test_a_chord_says_how_many_come_before_its_first_member() -> None:
    items = wave(chord([A, B, C], D))

    kinds = ["step" if isinstance(item, Step) else item.size for item in items]
    assert kinds == [3, "step", "step", "step"]


def test_a_chord_of_a_generator_says_how_many_come_before_its_last_member() -> None:
    node = plan.compile(chord([A, B, C], D), rules())
    assert isinstance(node, Chord)
    items = [*first_wave(msgspec.structs.replace(node, header=iter(node.header)))]

    kinds = ["step" if isinstance(item, Step) else item.size for item in items]
    assert kinds == [0, "step", "step", 3, "step"]
    announced, sized = (item for item in items if not isinstance(item, Step))
    assert announced.body
    assert sized.body is None


def test_members_carry_the_body_and_no_sibling() -> None:
    def longest(members: int) -> int:
        items = wave(chord([sig("a", n) for n in range(members)], D))
        return max(len(repr(item)) for item in items if isinstance(item, Step))

    assert longest(1000) < longest(10) + 10


def test_nesting_adds_and_does_not_multiply() -> None:
    def longest(depth: int) -> int:
        nested: Any = A
        for _ in range(depth):
            nested = chord([nested, B], chain(C, D))
        return max(len(repr(item)) for item in wave(nested) if isinstance(item, Step))

    assert longest(12) - longest(8) < 1.5 * (longest(8) - longest(4))


def test_a_member_stands_where_its_chain_ends() -> None:
    [_, first, _] = wave(chord([chain(A, B), C], D, options={"task_id": "body"}))

    options = first.signature["options"]
    [last] = options["chain"]
    assert "chord" not in options
    assert last["options"]["chord"]["options"]["task_id"] == "body"
    assert last["options"]["group_index"] == 0


def test_an_empty_header_calls_the_body_with_nothing() -> None:
    [step] = wave(chord([], D))

    assert (step.signature["task"], step.args) == ("d", ([],))


def test_what_celery_froze_into_an_outer_chord_stays_there() -> None:
    body = sig("d", options={"task_id": "d"})
    place = {"group_id": "outer", "chord": body}
    members = [
        sig(name, options={**place, "task_id": name, "group_index": index})
        for index, name in enumerate("bc")
    ]
    frozen = group(*members, options={"task_id": "g", **place, "group_index": 0})

    [step] = wave(chain(A, frozen))
    [link] = step.signature["options"]["chain"]
    steps = [item for item in wave(link, 1) if isinstance(item, Step)]

    assert [each.signature["options"]["group_id"] for each in steps] == ["outer", "outer"]
    assert [each.signature["options"]["chord"]["task"] for each in steps] == ["d", "d"]


def test_a_member_counts_for_each_task_that_it_ends_in() -> None:
    for signature, number in ((A, 1), (chain(A, group(B, C)), 2), (chord([A, B], C), 1)):
        node = plan.compile(signature, rules())
        assert node is not None
        assert ends(node) == number
