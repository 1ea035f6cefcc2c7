"""What every result backend that holds chords must pass; part of ``BackendContract``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from umbel.model import Arrival, Expected, FullChord, Message
from umbel.protocols import ResultBackend
from umbel.testing.conformance.records import MakeBackend, record, seen
from umbel.wire.results import ResultCodec

__all__ = ["ChordContract"]


def arrivals(chord_id: str, size: int) -> list[Arrival]:
    """The members of a chord."""
    return [
        Arrival(
            chord_id=chord_id,
            index=index,
            size=size,
            record=record(f"{chord_id}-{index}", result=index),
            body=b'{"task":"contract.body"}',
        )
        for index in range(size)
    ]


def unsized(members: Sequence[Arrival]) -> list[Arrival]:
    """The same members, whose messages do not say how many there are."""
    return [msgspec.structs.replace(each, size=0) for each in members]


def promised(members: Sequence[Arrival]) -> list[Arrival]:
    """The same members, whose messages say that the backend was told of the chord before."""
    return [msgspec.structs.replace(each, size=0, expected=True) for each in members]


class Member(msgspec.Struct):
    """What a result record needs to know of a task."""

    id: str
    message: Message = Message(id="", body=b"")
    group_id: str | None = None
    parent_id: str | None = None


class ChordContract:
    """Counting the members of chords. Fixtures to give: ``backend``, ``make_backend``."""

    async def test_a_chord_is_full_when_every_index_has_arrived(
        self, backend: ResultBackend, make_backend: MakeBackend
    ) -> None:
        other = await make_backend()
        first, second, third = arrivals("c", 3)

        assert await backend.arrive([second]) == []
        assert await other.arrive([second, second]) == []
        assert await backend.arrive([first, *arrivals("d", 2)[:1]]) == []
        [chord] = await other.arrive([third])

        assert chord.id == "c"
        assert seen(chord.records) == {f"c-{index}": "SUCCESS" for index in range(3)}
        assert [ResultCodec().read(each).result for each in chord.records] == [0, 1, 2]

    async def test_a_full_chord_is_answered_again_until_it_is_sealed(
        self, backend: ResultBackend
    ) -> None:
        members = arrivals("c", 2)
        [chord] = await backend.arrive(members)

        assert await backend.arrive(members[:1]) == [chord]
        await backend.seal(["c", "unknown"])

        assert await backend.arrive(members) == []
        await backend.seal(["c"])
        assert await backend.arrive(members[1:]) == []

    async def test_a_chord_is_full_once_its_size_is_known(
        self, backend: ResultBackend, make_backend: MakeBackend
    ) -> None:
        other = await make_backend()
        first, second, third = unsized(arrivals("c", 3))
        assert await backend.arrive([first, second]) == []

        await other.expect([Expected("c", 3), Expected("d", 5)])

        assert await backend.arrive([second]) == []
        [chord] = await backend.arrive([third])
        assert len(chord.records) == 3

    async def test_a_chord_of_which_nothing_is_known_though_it_was_expected_is_lost(
        self, backend: ResultBackend
    ) -> None:
        members = promised(arrivals("c", 3))

        found = await backend.arrive([members[1], *arrivals("d", 1), members[2]])
        [lost, full] = sorted(found, key=lambda chord: chord.id)
        [again] = await backend.arrive(members[:1])
        await backend.seal(["c"])

        assert (lost.id, lost.lost, lost.records) == ("c", True, ())
        assert (again.id, again.lost) == ("c", True)
        assert (full.id, full.lost) == ("d", False)
        assert await backend.arrive(members) == []

    async def test_a_chord_is_lost_whose_size_alone_was_said_since(
        self, backend: ResultBackend
    ) -> None:
        """Its size was not known at first; then everything was lost, and then its size was said."""
        await backend.expect([Expected("c", 2)])
        await backend.enlarge({"c": ["c-2"]})

        [lost] = await backend.arrive(promised(arrivals("c", 2))[:1])

        assert lost.lost

    async def test_a_chord_that_was_expected_is_counted(
        self, backend: ResultBackend, make_backend: MakeBackend
    ) -> None:
        other = await make_backend()
        members = promised(arrivals("c", 2))
        await backend.expect([Expected("c", 0, b"what"), Expected("d", 1, b"other")])

        assert await other.arrive(members[:1]) == []
        await backend.expect([Expected("c", 2)])
        [chord] = await other.arrive(members[1:])

        assert (chord.lost, len(chord.records)) == (False, 2)
        assert len(await other.arrive(promised(arrivals("d", 1)))) == 1

    async def test_a_member_that_cannot_be_read_counts_where_the_chord_is_known(
        self, backend: ResultBackend
    ) -> None:
        first, second = promised(arrivals("c", 2))
        illegible = msgspec.structs.replace(second, body=b"", expected=False)
        await backend.expect([Expected("c", 2, b"what")])
        of_a_group = msgspec.structs.replace(illegible, chord_id="a plain group")

        assert await backend.arrive([of_a_group]) == []
        assert await backend.arrive([first]) == []
        [chord] = await backend.arrive([illegible])

        assert (len(chord.records), chord.body) == (2, b"what")

    async def test_what_is_expected_anew_after_the_seal_stays_sealed(
        self, backend: ResultBackend
    ) -> None:
        members = unsized(arrivals("c", 2))
        await backend.expect([Expected("c", 2)])
        assert len(await backend.arrive(members)) == 1
        await backend.seal(["c"])

        await backend.expect([Expected("c", 2)])
        await backend.enlarge({"c": ["more"]})

        assert await backend.arrive(members) == []

    async def test_added_members_are_waited_for_each_once(
        self, backend: ResultBackend, make_backend: MakeBackend
    ) -> None:
        other = await make_backend()
        members = unsized(arrivals("c", 4))
        await backend.expect([Expected("c", 2)])
        await backend.enlarge({"c": ["c-2", "c-3"], "d": []})
        await other.enlarge({"c": ["c-2"]})

        assert await backend.arrive(members[:2]) == []
        assert await backend.arrive(members[2:3]) == []
        [chord] = await backend.arrive(members[3:])

        assert len(chord.records) == 4

    async def test_members_may_share_a_place_or_be_the_same_task_in_two(
        self, backend: ResultBackend
    ) -> None:
        """Celery gives members of groups within a header the same places, and counts a
        signature that stands twice in a header twice."""
        one, other = unsized(arrivals("c", 2))
        beside = msgspec.structs.replace(other, index=0)
        twice = msgspec.structs.replace(one, index=1, record=record("c-0", result="again"))
        await backend.expect([Expected("c", 3)])

        assert await backend.arrive([one, beside, one]) == []
        [chord] = await backend.arrive([twice])

        assert [each.id for each in chord.records] == ["c-0", "c-1", "c-0"]

    async def test_members_without_a_place_come_last(self, backend: ResultBackend) -> None:
        nowhere = msgspec.structs.replace(arrivals("c", 1)[0], index=2**53, record=record("end"))
        await backend.arrive([nowhere])

        [chord] = await backend.arrive(arrivals("c", 2)[:1])
        assert [each.id for each in chord.records] == ["c-0", "end"]

    async def test_results_of_members_are_read_as_they_were_stored(
        self, backend: ResultBackend
    ) -> None:
        codec = ResultCodec()
        failed = codec.failed(Member("c-1"), LookupError("no", 3), "Traceback: line 5")
        values = [{"total": [1, 2.5, None]}, None]
        first, second = unsized(arrivals("c", 2))
        first = msgspec.structs.replace(first, record=codec.succeeded(Member("c-0"), values[0]))
        second = msgspec.structs.replace(second, record=failed)
        await backend.expect([Expected("c", 2)])

        [chord] = await backend.arrive([second, first])

        good, bad = (codec.read(each) for each in chord.records)
        assert (good.task_id, good.status, good.result) == ("c-0", "SUCCESS", values[0])
        assert (bad.task_id, bad.status, repr(bad.result)) == (
            "c-1",
            "FAILURE",
            "LookupError('no', 3)",
        )

    async def test_a_task_belongs_to_the_first_publication_that_claims_it(
        self, backend: ResultBackend, make_backend: MakeBackend
    ) -> None:
        other = await make_backend()

        assert await backend.claim([]) == []
        assert await backend.claim([("a", "1"), ("b", "2")]) == [True, True]
        assert await other.claim([("a", "2"), ("b", "2"), ("c", "1")]) == [False, True, True]
        assert await backend.claim([("a", "2"), ("a", "1")]) == [False, True]
        assert await backend.claim([("d", "1"), ("d", "2")]) == [True, False]

    async def test_a_chord_of_one_is_full_at_once(self, backend: ResultBackend) -> None:
        [chord] = await backend.arrive(arrivals("c", 1))

        assert [each.id for each in chord.records] == ["c-0"]

    async def test_several_chords_may_fill_in_one_batch(self, backend: ResultBackend) -> None:
        batch = [*arrivals("c", 2), *arrivals("d", 3), *arrivals("e", 2)[:1]]

        full = await backend.arrive(batch)

        assert sorted(chord.id for chord in full) == ["c", "d"]

    async def test_concurrent_arrivals_fill_a_chord(
        self, backend: ResultBackend, make_backend: MakeBackend
    ) -> None:
        backends = [backend, await make_backend(), await make_backend()]
        members = arrivals("c", 60)

        answers = await asyncio.gather(
            *(backends[each.index % 3].arrive([each]) for each in members)
        )

        full: list[FullChord] = [chord for answer in answers for chord in answer]
        assert full
        assert all(len(chord.records) == 60 for chord in full)

    async def test_a_member_that_ends_twice_keeps_its_best_result(
        self, backend: ResultBackend
    ) -> None:
        first, second = arrivals("c", 2)
        failed = msgspec.structs.replace(first, record=record("c-0", "FAILURE"))
        await backend.arrive([failed])
        await backend.arrive([failed])

        [chord] = await backend.arrive([second])

        assert [each.state for each in chord.records] == ["FAILURE", "SUCCESS"]
