"""What a result backend must do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from umbel.model import Arrival, Expected, FullChord, GroupRecord, ResultRecord

__all__ = ["ResultBackend"]


class ResultBackend(Protocol):
    """Keeps what tasks returned, and says when it changes.

    Raises (all methods):
        BackendUnavailable: No connection; nothing is known about the batch.
    """

    @property
    def counts_chords(self) -> bool:
        """Whether :meth:`expect` and :meth:`arrive` do anything but raise NotImplementedError,
        here and wherever the same URL is used. Without any URL: yes, as workers may have one."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def store(self, records: Sequence[ResultRecord]) -> None:
        """Keep the records. Storing the same record twice is harmless.

        A record never replaces one whose state is more final (``umbel.states.finality``):
        a late STARTED cannot undo a SUCCESS.
        """

    async def load(self, ids: Sequence[str]) -> dict[str, ResultRecord]:
        """The records that exist; unknown ids are simply absent."""
        ...

    async def forget(self, ids: Sequence[str]) -> None:
        """Delete the records; unknown ids are ignored."""

    def watch(
        self, ids: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[list[ResultRecord]]]:
        """Every record of ``ids``: those already there first, then each change.

        Subscribes before it looks, so nothing falls between the two.
        """
        ...

    async def store_groups(self, groups: Sequence[GroupRecord]) -> None:
        """Keep the groups. Storing one again replaces it."""

    async def load_groups(self, ids: Sequence[str]) -> dict[str, GroupRecord]:
        """The groups that exist; unknown ids are simply absent."""
        ...

    async def forget_groups(self, ids: Sequence[str]) -> None:
        """Delete the groups, not the results of their members; unknown ids are ignored."""

    async def expect(self, expected: Sequence[Expected]) -> None:
        """Say what chords there are before their first member is sent; and, where that was not
        known, how many members are to arrive, before the last one is sent.

        Those that have arrived already count. A chord that is sealed stays sealed.
        """

    async def enlarge(self, members: Mapping[str, Sequence[str]]) -> None:
        """More tasks are to arrive at each chord, beside those that were expected: these, each
        once, however often it is said."""

    async def arrive(self, arrivals: Sequence[Arrival]) -> list[FullChord]:
        """Count chord members in, each once: a member is a task (``record.id``) in a place
        (``index``). Returns the chords among them that are full and not yet sealed, their records
        in order of place and task. A repeated arrival is not counted again, but is answered again,
        so that a repeat can finish what a crash interrupted.

        A chord of which nothing is known, though an arrival says that it was expected, is
        returned as lost, and not counted, until it is sealed."""
        ...

    async def seal(self, chord_ids: Sequence[str]) -> None:
        """The chords' bodies are published: forget the counts and never report them again."""

    async def claim(self, publications: Sequence[tuple[str, str]]) -> list[bool]:
        """Say which publication of a task is about to run, where a task may have been published
        more than once: task id and publication. The first one that is named has the task for
        good; returns for each whether it is the one."""
        ...

    async def prune(self, *, before: float, limit: int) -> int:
        """Delete up to ``limit`` records that expired before ``before`` (Unix seconds)."""
        ...
