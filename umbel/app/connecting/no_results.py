"""The result backend of an app that keeps no results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NoReturn

from umbel.model import Arrival, Expected, FullChord, GroupRecord, ResultRecord

__all__ = ["NoResults"]

_WHY = (
    "no result backend is configured, so {what}. Set result_backend, "
    'for example Umbel("name", backend="redis://localhost").'
)


class NoResults:
    """Stores nothing; whoever asks for a result is told why there is none.

    Source:
        Celery user guide, Configuration, ``result_backend``: no backend is enabled by default;
        reading a result then raises ``NotImplementedError``.
    """

    counts_chords = True

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def store(self, records: Sequence[ResultRecord]) -> None:
        """Forget the records at once."""

    async def load(self, ids: Sequence[str]) -> dict[str, ResultRecord]:
        """Raises: NotImplementedError: there are no results."""
        _refuse("results cannot be read")

    async def forget(self, ids: Sequence[str]) -> None:
        """Nothing to forget."""

    def watch(
        self, ids: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[list[ResultRecord]]]:
        """Raises: NotImplementedError: there are no results."""
        _refuse("results cannot be waited for")

    async def store_groups(self, groups: Sequence[GroupRecord]) -> None:
        """Raises: NotImplementedError: there is nothing to keep groups in."""
        _refuse("groups cannot be saved")

    async def load_groups(self, ids: Sequence[str]) -> dict[str, GroupRecord]:
        """Raises: NotImplementedError: there is nothing to keep groups in."""
        _refuse("groups cannot be restored")

    async def forget_groups(self, ids: Sequence[str]) -> None:
        """Nothing to forget."""

    async def expect(self, expected: Sequence[Expected]) -> None:
        """Raises: NotImplementedError: there is nothing to count chords in."""
        if expected:
            _refuse("chords cannot be counted")

    async def enlarge(self, members: Mapping[str, Sequence[str]]) -> None:
        """Raises: NotImplementedError: there is nothing to count chords in."""
        if members:
            _refuse("chords cannot be counted")

    async def arrive(self, arrivals: Sequence[Arrival]) -> list[FullChord]:
        """Raises: NotImplementedError: there is nothing to count chords in."""
        if arrivals:
            _refuse("chords cannot be counted")
        return []

    async def seal(self, chord_ids: Sequence[str]) -> None:
        """Nothing to seal."""

    async def claim(self, publications: Sequence[tuple[str, str]]) -> list[bool]:
        """Nobody has been told of any other."""
        return [True for _ in publications]

    async def prune(self, *, before: float, limit: int) -> int:
        """Nothing to delete."""
        return 0


def _refuse(what: str) -> NoReturn:
    raise NotImplementedError(_WHY.format(what=what))
