"""``ResultSet`` and ``GroupResult``: many results as one."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from umbel.exceptions import TimeoutError  # noqa: A004 - ours
from umbel.result import (
    AsyncResult,
    EagerResult,
    GroupResult,
    ResultSet,
    denied_join_result,
    result_from_tuple,
)

from .conftest import Ended, Store


def group(app: Store, *ids: str) -> GroupResult:
    return app.GroupResult("g", [app.AsyncResult(id_) for id_ in ids])


def test_values_come_in_the_order_of_the_members(app: Store) -> None:
    for name in ("c", "a", "b"):
        app.succeed(name, name.upper())
    results = group(app, "a", "b", "c", "a")

    assert results.get(timeout=60) == ["A", "B", "C", "A"]
    assert results.join(timeout=60) == results.join_native(timeout=60) == ["A", "B", "C", "A"]
    assert (results.ready(), results.waiting(), results.successful()) == (True, False, True)
    assert results.supports_native_join


def test_waiting_ends_when_the_last_member_does(app: Store) -> None:
    app.succeed("a", 1)
    results = group(app, "a", "b", "c")
    app.later(app.fail, "x", LookupError())
    app.later(app.succeed, "b", 2)
    app.later(app.succeed, "c", 3)

    assert results.get(timeout=30) == [1, 2, 3]


def test_the_first_failure_is_raised_without_waiting_for_the_others(app: Store) -> None:
    app.fail("b", LookupError("no"), "Traceback: line 5")
    results = group(app, "a", "b")

    with pytest.raises(LookupError) as caught:
        results.get(timeout=30)
    assert any("line 5" in note for note in caught.value.__notes__)
    assert (results.failed(), results.ready(), results.successful()) == (True, False, False)
    with pytest.raises(LookupError):
        results.maybe_throw()


def test_failures_are_among_the_values_when_they_are_not_to_be_raised(app: Store) -> None:
    app.succeed("a", 1)
    app.fail("b", LookupError("no"))

    first, second = group(app, "a", "b").get(timeout=60, propagate=False)

    assert first == 1
    assert isinstance(second, LookupError)


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_members_that_do_not_come_are_a_timeout_that_names_some(app: Store, seconds: float) -> None:
    app.succeed("a", 1)
    results = group(app, "a", "b", "c")

    with pytest.raises(TimeoutError, match=r"2 results were not ready in .* among them b, c"):
        results.get(timeout=seconds)
    with pytest.raises(TimeoutError):
        results.join(timeout=seconds)


def test_a_timeout_of_nothing_still_looks_once(app: Store) -> None:
    app.succeed("a", 1)
    app.succeed("b", 2)

    assert group(app, "a", "b").get(timeout=0) == [1, 2]


def test_a_callback_gets_every_id_and_value_and_nothing_is_returned(app: Store) -> None:
    app.succeed("a", 1)
    app.succeed("b", 2)
    seen: dict[str, Any] = {}

    assert group(app, "a", "b").join_native(timeout=60, callback=seen.__setitem__) is None
    assert group(app, "a", "b").join(timeout=5, callback=seen.__setitem__) == []
    assert seen == {"a": 1, "b": 2}


def test_ids_and_documents_are_handed_out_as_members_end(app: Store) -> None:
    app.succeed("b", 2)
    found = group(app, "a", "b").iter_native(timeout=30)

    assert next(found)[0] == "b"
    app.fail("a", LookupError("no"))
    task_id, meta = next(found)
    assert (task_id, meta["status"]) == ("a", "FAILURE")
    assert list(found) == []


def test_every_state_on_the_way_is_told(app: Store) -> None:
    app.progress("a", "PROGRESS", {"done": 1})
    app.succeed("b", 2)
    app.later(app.succeed, "a", 1)
    told: list[tuple[str, str]] = []

    results = group(app, "a", "b")
    results.get(timeout=30, on_message=lambda m: told.append((m["task_id"], m["status"])))

    assert {("a", "SUCCESS"), ("b", "SUCCESS")} <= set(told)


def test_the_interval_callback_is_called_while_waiting(app: Store) -> None:
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 3:
            app.succeed("a", 1)

    assert group(app, "a").get(timeout=30, interval=0.01, on_interval=tick) == [1]
    assert len(ticks) >= 3


def test_groups_in_groups_have_lists_as_values(app: Store) -> None:
    for name in "abc":
        app.succeed(name, name)
    inner = app.GroupResult("inner", [app.AsyncResult("a"), app.AsyncResult("b")])
    outer = app.GroupResult("outer", [inner, app.AsyncResult("c")])

    assert outer.get(timeout=60) == [["a", "b"], "c"]
    assert (outer.completed_count(), len(outer)) == (2, 2)


def test_finished_members_are_counted_in_one_request(app: Store) -> None:
    results = group(app, *(str(number) for number in range(50)))
    for number in range(20):
        app.succeed(str(number), number)
    app.fail("30", LookupError())

    assert results.completed_count() == 20
    assert not results.ready()


def test_what_ran_in_place_needs_no_backend() -> None:
    results = GroupResult("g", [EagerResult("a", 1, "SUCCESS"), EagerResult("b", 2, "SUCCESS")])

    assert results.get() == [1, 2]
    assert ResultSet([]).get() == []


def test_a_group_whose_predecessor_failed_raises_what_that_raised(app: Store) -> None:
    app.fail("first", LookupError("no"))
    results = app.GroupResult("g", [app.AsyncResult("a")], parent=app.AsyncResult("first"))

    with pytest.raises(LookupError):
        results.get(timeout=30)


@pytest.mark.parametrize("is_waited_for", [False, True])
def test_a_member_whose_predecessor_has_failed_is_not_waited_for(
    app: Store, is_waited_for: bool
) -> None:
    chains = [app.AsyncResult(f"end {n}", parent=app.AsyncResult(f"start {n}")) for n in range(3)]
    results = app.GroupResult("g", chains)

    def fail(*_: object) -> None:
        app.fail("start 1", LookupError("no"))

    if is_waited_for:
        app.succeed("end 0", 0)
    else:
        fail()

    with pytest.raises(LookupError):
        results.get(timeout=60, callback=fail)


def test_predecessors_of_members_are_not_waited_for(app: Store) -> None:
    chains = [app.AsyncResult(f"end {n}", parent=app.AsyncResult(f"start {n}")) for n in range(3)]
    seen: list[str] = []
    app.succeed("start 0", 0)
    for number in range(3):
        app.succeed(f"end {number}", number)

    results = app.GroupResult("g", chains)
    values = results.get(timeout=60, on_message=lambda document: seen.append(document["task_id"]))

    assert values == [0, 1, 2]
    assert sorted(seen) == ["end 0", "end 1", "end 2"]


def test_a_timeout_counts_members_and_not_their_predecessors(app: Store) -> None:
    chains = [app.AsyncResult(f"end {n}", parent=app.AsyncResult(f"start {n}")) for n in range(3)]

    with pytest.raises(TimeoutError, match="3 results were not ready"):
        app.GroupResult("g", chains).get(timeout=0.01)


def test_members_are_added_and_removed(app: Store) -> None:
    a, b, c = (app.AsyncResult(name) for name in "abc")
    members: list[AsyncResult[Any]] = [a]
    results = app.ResultSet(members)

    results.add(b)
    results.add(AsyncResult("b"))
    results.update([a, c, c])
    assert members == [a, b, c] == list(results)
    assert (len(results), results[1], results[-1:]) == (3, b, [c])
    results.remove("b")
    results.discard("b")
    with pytest.raises(KeyError):
        results.remove("b")
    assert results == app.ResultSet([a, c])
    results.clear()
    assert not len(results)
    assert repr(app.ResultSet([a, c])) == "<ResultSet: [a, c]>"


def test_groups_are_equal_by_id_members_and_parent(app: Store) -> None:
    one = group(app, "a", "b")

    assert one == group(app, "a", "b")
    assert one == "g"
    assert one != group(app, "a")
    assert hash(one) == hash("g")
    assert (str(one), repr(one)) == ("g", "<GroupResult: g [a, b]>")
    assert one
    assert not GroupResult()
    assert pickle.loads(pickle.dumps(one)) == one
    assert isinstance(one, app.GroupResult)  # type: ignore[arg-type]  # as people write it


def test_a_saved_group_is_restored_until_it_is_deleted(app: Store) -> None:
    app.succeed("a", 1)
    app.succeed("b", 2)
    parent = app.AsyncResult("before", parent=app.AsyncResult("at first"))
    inner = app.GroupResult("inner", [app.AsyncResult("b")])
    app.GroupResult("g", [app.AsyncResult("a"), inner], parent=parent).save()

    found = app.GroupResult.restore("g")

    assert found is not None
    assert found.get(timeout=60) == [1, [2]]
    assert [node.id for node in found.lineage()] == ["before", "at first"]
    found.delete()
    assert app.GroupResult.restore("g") is None


def test_tuples_describe_groups(app: Store) -> None:
    results = app.GroupResult("g", [app.AsyncResult("a")], parent=app.AsyncResult("p"))

    described = results.as_tuple()

    assert described == (("g", (("p", None), None)), [(("a", None), None)])
    again = result_from_tuple(described, app)
    assert again == results
    assert isinstance(again, GroupResult)


def test_a_chain_longer_than_the_stack_is_deep_has_a_tuple(app: Store) -> None:
    result = app.AsyncResult("0")
    for number in range(1, 5000):
        result = app.AsyncResult(str(number), parent=result)

    again = result_from_tuple(result.as_tuple(), app)

    assert [node.id for node in again.lineage()][-1] == "0"


def test_a_callback_is_called_once_all_have_ended(app: Store) -> None:
    told: list[Any] = []
    results = group(app, "a", "b")
    results.then(told.append)
    results[0].then(told.append)
    app.succeed("a", 1)

    results.ready()
    assert told == [results[0]]
    app.succeed("b", 2)
    results.get(timeout=60)
    assert told == [results[0], results]
    results.then(told.append)
    assert told[-1] is results


def test_forgotten_results_are_gone(app: Store) -> None:
    app.succeed("a", 1)
    app.succeed("b", 2)

    group(app, "a", "b").forget()

    assert not app.AsyncResult("a").exists()
    assert not app.AsyncResult("b").exists()


def test_waiting_inside_a_task_is_refused(app: Store) -> None:
    with denied_join_result(), pytest.raises(RuntimeError, match="Never call result"):
        group(app, "a").get()


async def test_groups_can_be_awaited(app: Store) -> None:
    async def later() -> None:
        backend = await app.connections.backend()
        await backend.store([app.codec.succeeded(Ended("b"), 2)])

    backend = await app.connections.backend()
    await backend.store([app.codec.succeeded(Ended("a"), 1)])
    results = group(app, "a", "b")
    assert await results.acompleted_count() == 1
    assert not await results.aready()
    storing = asyncio.create_task(later())

    async with asyncio.timeout(30):
        assert await results == [1, 2]
    await storing
    with pytest.raises(TimeoutError):
        await group(app, "never").aget(timeout=0.01)
    await app.aclose()


async def test_members_are_handed_out_as_they_finish(app: Store) -> None:
    backend = await app.connections.backend()
    order: list[str] = []
    await backend.store([app.codec.succeeded(Ended("c"), 3)])

    async with asyncio.timeout(30):
        async for member in group(app, "a", "b", "c"):
            order.append(member.id)
            following = {"c": "b", "b": "a"}.get(member.id)
            if following:
                await backend.store([app.codec.succeeded(Ended(following), 1)])

    assert order == ["c", "b", "a"]
    await app.aclose()
