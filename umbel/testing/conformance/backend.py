"""What every result backend must pass.

A driver's test file is its fixture; see :mod:`umbel.testing.conformance.broker`. A backend that
stores nothing, because its records are messages, passes :class:`RecordsContract` alone.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from umbel.clock import ManualClock
from umbel.model import GroupRecord, ResultRecord
from umbel.protocols import ResultBackend
from umbel.testing.conformance.chords import ChordContract
from umbel.testing.conformance.clocks import MovableClock
from umbel.testing.conformance.messages import PATIENCE, every_await
from umbel.testing.conformance.records import MakeBackend, record, seen

__all__ = ["BackendContract", "MakeBackend", "RecordsContract", "record"]


async def watch_for(
    changes: AsyncIterator[list[ResultRecord]], expected: dict[str, str]
) -> list[ResultRecord]:
    """Listen until every id has been seen in its state; fails when it does not come."""
    heard: list[ResultRecord] = []
    async with asyncio.timeout(PATIENCE):
        while not expected.items() <= seen(heard).items():
            heard += await anext(changes)
    return heard


class RecordsContract:
    """Storing, loading and watching. Fixtures to give: ``make_backend``; for servers also
    ``clock``."""

    @pytest.fixture
    def clock(self) -> MovableClock:
        """Moved by hand; a driver of a real server overrides it."""
        return ManualClock()

    @pytest.fixture
    async def backend(self, make_backend: MakeBackend) -> ResultBackend:
        """The first instance."""
        return await make_backend()

    # Records

    async def test_what_is_stored_can_be_loaded_by_anyone(
        self, backend: ResultBackend, make_backend: MakeBackend
    ) -> None:
        other = await make_backend()
        stored = [record("a", result={"ü": [1, None]}), record("b", "FAILURE"), record("c")]

        await backend.store(stored)

        loaded = await other.load(["a", "b", "c", "unknown"])
        assert set(loaded) == {"a", "b", "c"}
        for each in stored:
            assert (loaded[each.id].id, loaded[each.id].state) == (each.id, each.state)
            assert loaded[each.id].body == each.body

    async def test_an_empty_batch_is_legal_and_does_nothing(self, backend: ResultBackend) -> None:
        await backend.store([])
        await backend.forget([])
        await backend.store_groups([])
        await backend.expect([])
        await backend.enlarge({})
        await backend.seal([])

        assert await backend.load([]) == {}
        assert await backend.load_groups([]) == {}
        assert await backend.arrive([]) == []

    async def test_a_result_may_have_ten_megabytes(self, backend: ResultBackend) -> None:
        large = record("large", result="x" * 10_485_760)

        await backend.store([large])

        assert (await backend.load(["large"]))["large"].body == large.body

    async def test_storing_twice_is_harmless(self, backend: ResultBackend) -> None:
        await backend.store([record("a", result=1), record("a", result=1)])
        await backend.store([record("a", result=1)])

        assert (await backend.load(["a"]))["a"].body == record("a", result=1).body

    @pytest.mark.parametrize(
        ("first", "second", "kept"),
        [
            ("STARTED", "SUCCESS", "SUCCESS"),
            ("SUCCESS", "STARTED", "SUCCESS"),
            ("SUCCESS", "RETRY", "SUCCESS"),
            ("SUCCESS", "FAILURE", "SUCCESS"),
            ("SUCCESS", "REVOKED", "SUCCESS"),
            ("SUCCESS", "PROGRESS", "SUCCESS"),
            ("FAILURE", "SUCCESS", "SUCCESS"),
            ("FAILURE", "STARTED", "FAILURE"),
            ("FAILURE", "PROGRESS", "FAILURE"),
            ("REVOKED", "STARTED", "REVOKED"),
            ("REVOKED", "SUCCESS", "SUCCESS"),
            # What is not final gives way to whatever came later: a task that reported progress
            # may be revoked, and one that was started may be waiting for its next attempt.
            ("PROGRESS", "REVOKED", "REVOKED"),
            ("PROGRESS", "FAILURE", "FAILURE"),
            ("REVOKED", "PROGRESS", "REVOKED"),
            ("STARTED", "RETRY", "RETRY"),
            ("RETRY", "STARTED", "STARTED"),
            ("STARTED", "PROGRESS", "PROGRESS"),
            ("PROGRESS", "RETRY", "RETRY"),
        ],
    )
    async def test_a_final_state_is_never_lowered(
        self, backend: ResultBackend, first: str, second: str, kept: str
    ) -> None:
        await backend.store([record("a", first), record("b", first), record("b", second)])

        await backend.store([record("a", second)])

        loaded = await backend.load(["a", "b"])
        assert {each.state for each in loaded.values()} == {kept}
        assert loaded["a"].body == record("a", kept).body

    async def test_a_later_report_of_progress_replaces_an_earlier_one(
        self, backend: ResultBackend
    ) -> None:
        await backend.store([record("a", "PROGRESS", 1)])
        await backend.store([record("a", "PROGRESS", 2)])

        assert (await backend.load(["a"]))["a"].body == record("a", "PROGRESS", 2).body

    async def test_what_is_forgotten_is_gone(self, backend: ResultBackend) -> None:
        await backend.store([record("a"), record("b")])

        await backend.forget(["a", "unknown"])

        assert set(await backend.load(["a", "b"])) == {"b"}
        await backend.store([record("a", "STARTED")])
        assert seen(list((await backend.load(["a"])).values())) == {"a": "STARTED"}

    async def test_what_has_expired_is_gone(
        self, backend: ResultBackend, clock: MovableClock
    ) -> None:
        now = clock.time()
        await backend.store(
            [record("brief", expires_at=now + 1), record("long", expires_at=now + 1000)]
        )

        await clock.advance(2.1)

        assert set(await backend.load(["brief", "long"])) == {"long"}

    async def test_prune_leaves_what_has_not_expired(
        self, backend: ResultBackend, clock: MovableClock
    ) -> None:
        now = clock.time()
        await backend.store(
            [record(f"old{number}", expires_at=now + 1) for number in range(5)]
            + [record("late", expires_at=now + 1000), record("always")]
        )
        await clock.advance(2.1)

        pruned = [await backend.prune(before=clock.time(), limit=2) for _ in range(5)]

        # A server that expires by itself has nothing left to prune.
        assert sum(pruned) in (0, 5)
        assert max(pruned) <= 2
        assert set(await backend.load(["old0", "late", "always"])) == {"late", "always"}

    async def test_it_can_be_closed_and_opened_again(self, backend: ResultBackend) -> None:
        await backend.store([record("a")])
        await backend.close()
        await backend.close()

        await backend.open()
        await backend.open()

        assert set(await backend.load(["a"])) == {"a"}

    async def test_a_cancelled_store_has_happened_or_not(self, backend: ResultBackend) -> None:
        numbers = itertools.count()
        last = ""

        def begin() -> Coroutine[Any, Any, object]:
            nonlocal last
            last = f"{next(numbers)}"
            return backend.store([record(f"{last}a"), record(f"{last}b")])

        async def check() -> None:
            await backend.store([record("last")])
            found = await backend.load([f"{last}a", f"{last}b", "last"])
            assert len(found) in (1, 3)

        await every_await(begin, check)

    # Watching

    async def test_a_watcher_gets_what_is_there_already(self, backend: ResultBackend) -> None:
        await backend.store([record("a"), record("b", "STARTED"), record("unasked")])

        async with backend.watch(["a", "b", "later"]) as changes:
            heard = await watch_for(changes, {"a": "SUCCESS", "b": "STARTED"})

        assert set(seen(heard)) == {"a", "b"}
        assert next(each for each in heard if each.id == "a").body == record("a").body

    async def test_a_watcher_gets_every_change_from_anyone(
        self, backend: ResultBackend, make_backend: MakeBackend
    ) -> None:
        other = await make_backend()
        async with backend.watch(["a", "b"]) as changes:
            await other.store([record("a", "STARTED"), record("unasked")])
            await watch_for(changes, {"a": "STARTED"})
            await backend.store([record("b")])
            await watch_for(changes, {"b": "SUCCESS"})
            await other.store([record("a", result=42)])
            heard = await watch_for(changes, {"a": "SUCCESS"})

        assert heard[-1].body == record("a", result=42).body

    async def test_a_watcher_misses_nothing_between_subscribing_and_looking(
        self, backend: ResultBackend, make_backend: MakeBackend
    ) -> None:
        other = await make_backend()
        for number in range(30):
            name = f"task-{number}"
            storing = asyncio.create_task(other.store([record(name)]))
            for _ in range(number % 10):
                await asyncio.sleep(0)
            async with backend.watch([name]) as changes:
                await watch_for(changes, {name: "SUCCESS"})
            await storing

    async def test_many_watchers_each_get_their_own(
        self, backend: ResultBackend, make_backend: MakeBackend
    ) -> None:
        other = await make_backend()
        names = [f"task-{number}" for number in range(100)]

        async def wait_for(name: str) -> list[ResultRecord]:
            async with backend.watch([name]) as changes:
                return await watch_for(changes, {name: "SUCCESS"})

        waiting = [asyncio.create_task(wait_for(name)) for name in names]
        await asyncio.sleep(0)
        for start in range(0, 100, 10):
            await other.store([record(name) for name in names[start : start + 10]])

        heard = await asyncio.gather(*waiting)
        assert [set(seen(each)) for each in heard] == [{name} for name in names]

    async def test_one_watcher_may_watch_thousands(
        self, backend: ResultBackend, make_backend: MakeBackend
    ) -> None:
        other = await make_backend()
        names = [f"task-{number}" for number in range(3000)]
        await other.store([record(name) for name in names[:1000]])

        async with backend.watch(names) as changes:
            for start in (1000, 2000):
                await other.store([record(name) for name in names[start : start + 1000]])
            await watch_for(changes, dict.fromkeys(names, "SUCCESS"))

    async def test_two_watchers_of_one_task_both_hear(self, backend: ResultBackend) -> None:
        async with backend.watch(["a"]) as first, backend.watch(["a"]) as second:
            await backend.store([record("a")])

            await watch_for(first, {"a": "SUCCESS"})
            await watch_for(second, {"a": "SUCCESS"})


class BackendContract(ChordContract, RecordsContract):
    """All of it: records, groups and chords."""

    async def test_groups_are_kept_as_they_are(
        self, backend: ResultBackend, make_backend: MakeBackend
    ) -> None:
        other = await make_backend()
        body = b'{"result": [["g", null], [[["b", null], null], [["a", null], null]]]}'

        await backend.store_groups(
            [GroupRecord(id="g", body=body), GroupRecord(id="h", body=b"{}")]
        )

        loaded = await other.load_groups(["g", "unknown"])
        assert set(loaded) == {"g"}
        assert (loaded["g"].id, loaded["g"].body) == ("g", body)

    async def test_a_group_that_has_expired_is_gone(
        self, backend: ResultBackend, clock: MovableClock
    ) -> None:
        now = clock.time()
        await backend.store_groups(
            [
                GroupRecord(id="brief", body=b"{}", expires_at=now + 1),
                GroupRecord(id="long", body=b"{}", expires_at=now + 1000),
            ]
        )

        await clock.advance(2.1)

        assert set(await backend.load_groups(["brief", "long"])) == {"long"}

    async def test_a_forgotten_group_is_gone_and_the_others_stay(
        self, backend: ResultBackend
    ) -> None:
        await backend.store_groups([GroupRecord(id=name, body=b"{}") for name in "gh"])

        await backend.forget_groups(["g", "unknown"])
        await backend.forget_groups([])

        assert set(await backend.load_groups(["g", "h"])) == {"h"}
