"""Chords on Redis, counted together with Celery's workers, under Celery's keys.

Source:
    Celery 5.7, ``celery.backends.redis``, observed: ``celery-taskset-meta-<id>`` followed by
    ``.j`` (what arrived, sorted by place), ``.t`` (members added), ``.s`` (size), ``.d`` (who
    arrived: ``<task id>:<place>``) and ``.c`` (who sends the body; ``done`` afterwards).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.scripts import script
from umbel.model import Arrival, Expected, FullChord, GroupRecord
from umbel.wire.parts import part_of, record_of

__all__ = ["SCRIPTS", "Chords"]

_ARRIVE = script("arrive")
_ENLARGE = script("enlarge")
_SEAL = script("seal")

SCRIPTS = (_ARRIVE, _ENLARGE, _SEAL)
"""What the client needs to know."""

_NOWHERE = 2**53
"""The place of a member that has none; Celery's workers say ``+inf``."""
_CLAIMED = 60
"""Seconds after which, at the earliest, a worker of Celery's may send the body instead of one of
ours that has been about to: longer than publishing takes."""
_SEALED_KEPT = 86_400
"""Seconds for which a chord that is done is not counted anew; a repeat comes within the
life of a message."""

_EXPECTED, _UNREAD, _LOST = "expected", "unread", b"lost"
"""What the script is told of an arrival, in place of a size; and what it says of a chord."""

Argument = str | bytes | int | float


class Chords:
    """Counts.

    Args:
        prefix: Of every key, as ``global_keyprefix``.
        kept: Seconds after the last arrival for which an unfinished chord is kept; 0: for ever.
        ordered: Whether results are kept in order of place, as ``result_chord_ordered``. Without
            order, a list is in the order of arrival; all workers must agree.
    """

    def __init__(self, client: Client, *, prefix: str, kept: float, ordered: bool) -> None:
        self._client = client
        self._group = f"{prefix}celery-taskset-meta-"
        self._added = f"{prefix}umbel:added:"
        self._claim = f"{prefix}umbel:claim:"
        self._body = f"{prefix}umbel:chord:"
        self._kept = max(int(kept * 1000), 0)
        self._ordered = ordered

    async def expect(self, expected: Sequence[Expected]) -> None:
        """Note what chords there are, and their sizes."""
        expiry: tuple[Argument, ...] = ("PX", self._kept) if self._kept else ()
        commands: list[list[Argument]] = []
        for each in expected:
            if each.body is not None:
                commands.append(["SET", self._body + each.chord_id, each.body, *expiry])
            if each.size:
                commands.append(["SET", f"{self._group}{each.chord_id}.s", each.size, *expiry])
        if commands:
            await self._client.call(*commands, again=True)

    async def enlarge(self, members: Mapping[str, Sequence[str]]) -> None:
        """Note more members of chords."""
        for id_, tasks in members.items():
            keys = [self._added + id_, f"{self._group}{id_}.t"]
            await self._client.run(_ENLARGE, keys, [self._kept, *tasks], again=True)

    async def arrive(self, arrivals: Sequence[Arrival]) -> list[FullChord]:
        """Count members in; the chords among them that are full, or lost, and not sealed."""
        if not arrivals:
            return []
        if not all([arrival.body for arrival in arrivals]):  # noqa: C419 - no call each
            # The last one of a chord is answered, and should know what to run.
            arrivals = sorted(arrivals, key=lambda arrival: bool(arrival.body))
        keys: list[str] = []
        arguments: list[Argument] = [int(self._ordered), self._kept, _CLAIMED]
        for arrival in arrivals:
            chord = self._group + arrival.chord_id
            keys += [*(f"{chord}.{end}" for end in "jtsdc"), chord]
            keys.append(self._body + arrival.chord_id)
            place = "+inf" if arrival.index >= _NOWHERE else str(arrival.index)
            who = f"{arrival.record.id}:{place}"
            said = _EXPECTED if arrival.expected else arrival.size if arrival.body else _UNREAD
            arguments += [who, place, said, part_of(arrival.record)]
        answers = await self._client.run(_ARRIVE, keys, arguments, again=True)
        return [
            _found(arrival.chord_id, answer)
            for arrival, answer in zip(arrivals, answers, strict=True)
            if answer
        ]

    async def seal(self, chord_ids: Sequence[str]) -> None:
        """Forget the counts, and remember for a day that these chords are done."""
        if chord_ids:
            keys: list[str] = []
            for id_ in chord_ids:
                chord = self._group + id_
                keys += [*(f"{chord}.{end}" for end in "cjtsd"), self._added + id_]
                keys.append(self._body + id_)
            await self._client.run(_SEAL, keys, [_SEALED_KEPT], again=True)

    async def claim(self, publications: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether each publication is the one that runs."""
        if not publications:
            return []
        commands: list[list[Argument]] = []
        for task, publication in publications:
            key = self._claim + task
            commands.append(["SET", key, publication, "NX", "EX", _SEALED_KEPT])
            commands.append(["GET", key])
        replies = await self._client.call(*commands, again=True)
        return [
            holder is None or holder.decode() == publication
            for (_, publication), holder in zip(publications, replies[1::2], strict=True)
        ]


def _found(id_: str, answer: Any) -> FullChord:
    """What the script has answered."""
    if answer == _LOST:
        return FullChord(id=id_, records=(), lost=True)
    group, parts, body = answer
    return FullChord(
        id=id_,
        records=tuple(record_of(part) for part in parts),
        group=None if group is None else GroupRecord(id=id_, body=group),
        body=body or b"",
    )
