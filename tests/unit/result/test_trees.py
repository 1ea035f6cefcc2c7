"""What is below a result: ``iterdeps``, ``collect``, ``graph``; and ``then``, ``revoke``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from umbel.exceptions import IncompleteStream
from umbel.result import AsyncResult, EagerResult
from umbel.utils.graph import CycleError, DependencyGraph

from .conftest import Ended, Store


@pytest.fixture
def tree(app: Store) -> AsyncResult[Any]:
    """``a`` sent ``b`` and the group ``g`` of ``c`` and ``d``; ``b`` sent ``e``."""
    group = (("g", None), [(("c", None), None), (("d", None), None)])
    app.succeed("a", 1, children=[(("b", None), None), group])
    app.succeed("b", 2, children=[(("e", None), None)])
    for name in "cde":
        app.succeed(name, name)
    return app.AsyncResult("a")


def test_the_tree_is_walked_level_by_level(tree: AsyncResult[Any]) -> None:
    edges = [(parent and parent.id, node.id) for parent, node in tree.iterdeps()]

    assert edges == [
        (None, "a"),
        ("a", "b"),
        ("a", "g"),
        ("b", "e"),
        ("g", "c"),
        ("g", "d"),
    ]


def test_every_node_is_collected_with_its_value(tree: AsyncResult[Any]) -> None:
    collected = [(node.id, value) for node, value in tree.collect(timeout=60)]

    assert collected == [
        ("a", 1),
        ("b", 2),
        ("g", ["c", "d"]),
        ("e", "e"),
        ("c", "c"),
        ("d", "d"),
    ]
    assert tree.get_leaf() == "d"


async def test_the_tree_can_be_collected_without_blocking(app: Store) -> None:
    backend = await app.connections.backend()
    await backend.store([app.codec.succeeded(Ended("b"), 2)])

    collected = [value async for _, value in app.AsyncResult("b").acollect()]

    assert collected == [2]
    await app.aclose()


def test_a_tree_that_still_grows_is_incomplete(app: Store) -> None:
    app.succeed("a", 1, children=[(("b", None), None)])
    walk = app.AsyncResult("a").iterdeps()

    assert [next(walk)[1].id, next(walk)[1].id] == ["a", "b"]
    with pytest.raises(IncompleteStream):
        next(walk)
    grown = app.AsyncResult("a").iterdeps(intermediate=True)
    assert [node.id for _, node in grown] == ["a", "b"]


def test_collecting_waits_for_what_has_not_ended(app: Store) -> None:
    app.succeed("a", 1, children=[(("b", None), None), (("c", None), None)])
    walk = app.AsyncResult("a").collect(timeout=60)

    assert next(walk)[1] == 1
    # They end while the first value is looked at.
    app.succeed("b", 2, children=[(("d", None), None)])
    app.succeed("c", 3)
    app.succeed("d", 4)
    assert [value for _, value in walk] == [2, 3, 4]


def test_the_graph_is_drawn(tree: AsyncResult[Any]) -> None:
    text = io.StringIO()

    tree.graph.to_dot(text)

    lines = text.getvalue().splitlines()
    assert lines[0] == 'digraph "dependencies" {'
    assert lines[-1] == "}"
    drawn = [line.strip().split(" [")[0] for line in lines[2:-1]]
    assert '"a" -> "b"' in drawn
    assert '"g" -> "d"' in drawn
    assert sorted(drawn[i] for i in range(len(drawn)) if "->" not in drawn[i]) == [
        f'"{name}"' for name in "abcdeg"
    ]
    assert len(tree.graph) == 6
    assert tree.graph.valency_of(tree) == 5
    order = [str(node.id) for node in tree.graph.topsort()]
    assert order.index("e") < order.index("b") < order.index("a")


def test_a_circle_has_no_order() -> None:
    circle = DependencyGraph([("a", ["b"]), ("b", ["a"])])

    with pytest.raises(CycleError, match="a, b"):
        circle.topsort()


def test_callbacks_are_called_by_whoever_finds_the_end(app: Store) -> None:
    told: list[Any] = []
    result = app.AsyncResult("a")
    result.then(told.append)
    assert told == []

    app.succeed("a", 1)
    assert result.ready()
    assert told == [result]
    result.then(told.append)
    assert told == [result, result]


def test_errors_of_callbacks_go_to_on_error(app: Store) -> None:
    app.succeed("a", 1)
    told: list[BaseException] = []

    def fail(_: object) -> None:
        raise LookupError("no")

    app.AsyncResult("a").then(fail, on_error=told.append).get(timeout=60)
    with pytest.raises(LookupError):
        app.AsyncResult("a").then(fail).get(timeout=60)
    waiting = app.AsyncResult("b").then(fail, on_error=told.append)
    with pytest.raises(ValueError, match="given up"):
        waiting.throw(ValueError("given up"))
    assert [type(error) for error in told] == [LookupError, ValueError]


def test_a_weak_callback_goes_with_its_owner(app: Store) -> None:
    class Owner:
        def __init__(self) -> None:
            self.told: list[Any] = []

        def tell(self, result: Any) -> None:
            self.told.append(result)

    result, kept, dropped = app.AsyncResult("a"), Owner(), Owner()
    told = dropped.told
    result.then(kept.tell, weak=True)
    result.then(dropped.tell, weak=True)
    del dropped
    app.succeed("a", 1)

    assert result.get(timeout=60) == 1
    assert (kept.told, told) == ([result], [])


def test_a_task_whose_result_is_ignored_is_not_waited_for(app: Store) -> None:
    @app.task(ignore_result=True)
    def quiet() -> None: ...

    sent = quiet.delay()

    assert sent.ignored
    assert sent.get(timeout=60) is None
    assert not app.AsyncResult(sent.id).ignored


class Control:
    """What revokes are told to."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, dict[str, object]]] = []

    def revoke(self, task_id: Any, **options: object) -> None:
        self.told.append((task_id, options))

    revoke_by_stamped_headers = revoke


@pytest.fixture
def control(app: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    control = Control()
    monkeypatch.setattr(type(app), "control", control, raising=False)
    return control  # type: ignore[return-value]


def test_results_revoke_their_tasks(app: Store, control: Control) -> None:
    app.AsyncResult("a").revoke(terminate=True, signal="KILL")
    app.AsyncResult("a").revoke_by_stamped_headers({"customer": 5})
    inner = app.GroupResult("inner", [app.AsyncResult("b"), app.AsyncResult("c")])
    app.GroupResult("g", [inner, app.AsyncResult("b")]).revoke()

    assert control.told == [
        ("a", {"terminate": True, "reply": False, "signal": "KILL"}),
        ({"customer": 5}, {"terminate": False, "reply": False}),
        (["b", "c"], {"terminate": False, "reply": False}),
    ]


def test_what_ran_in_place_cannot_be_stopped_and_says_so(app: Store) -> None:
    child = EagerResult("b", 2, "SUCCESS")
    result = EagerResult("a", 1, "SUCCESS", children=[child])
    told: list[Any] = []

    assert result.then(told.append) is result
    assert (told, result.children) == ([result], [child])
    result.revoke()
    assert (result.state, repr(result.result)) == ("REVOKED", "TaskRevokedError('revoked')")
