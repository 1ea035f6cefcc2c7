"""Chords in the worker: the last member's arrival becomes the body's publication, exactly once.

``docs/internals/chords.md`` has the argument.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from umbel.model import Arrival, Composed, Expected, FullChord, Message
from umbel.protocols import Compose, ResultBackend
from umbel.wire.headers import with_publication
from umbel.worker.settling.patience import Patience

__all__ = ["Chords", "composing"]

logger = logging.getLogger(__name__)


def composing(compose: Compose) -> Compose:
    """``compose``, for members and bodies of any origin: a chord that nobody can compose is
    reported, and over."""

    def composed(arrival: Arrival, chord: FullChord) -> Composed:
        try:
            return compose(arrival, chord)
        except Exception as error:  # what members returned, and how it is read, is user code
            logger.critical(
                "The body of chord %s cannot be sent, nor its failure be stored: %r",
                chord.id,
                error,
                exc_info=error,
            )
            return Composed()

    return composed


class Chords:
    """Completes chords where broker and result backend cannot commit together: counts arrivals,
    publishes bodies, seals; in that order, so that a crash repeats and loses nothing. A repeat is
    another publication of the same task, and says so: the first that is started is the one."""

    def __init__(
        self,
        backend: ResultBackend,
        publish: Callable[[Sequence[Message]], Awaitable[Sequence[Exception]]],
        *,
        compose: Compose,
        patience: Patience,
        new_id: Callable[[], str],
    ) -> None:
        self._backend = backend
        self._publish = publish
        self._compose = compose
        self._insist = patience
        self._new_id = new_id

    async def expect(self, expected: Sequence[Expected]) -> None:
        """Say how many members chords have."""
        try:
            await self._insist(self._backend.expect, dict(expected))
        except NotImplementedError as error:
            for chord_id, _ in expected:
                _cannot_count(chord_id, error)

    async def complete(self, arrivals: Sequence[Arrival]) -> None:
        """Count members in; send the bodies of the chords that are full now."""
        arrival_by_chord = {arrival.chord_id: arrival for arrival in arrivals}
        try:
            full = await self._insist(self._backend.arrive, arrivals)
        except NotImplementedError as error:
            for chord_id in arrival_by_chord:
                _cannot_count(chord_id, error)
            return
        for chord in full:
            arrival = arrival_by_chord[chord.id]
            refused = await self._finish(self._compose(arrival, chord))
            if refused:
                trouble = msgspec.structs.replace(chord, trouble=repr(refused[0]))
                await self._finish(self._compose(arrival, trouble))
        if full:
            await self._insist(self._backend.seal, [chord.id for chord in full])

    async def _finish(self, composed: Composed) -> Sequence[Exception]:
        """Returns why messages were refused."""
        refused: Sequence[Exception] = ()
        if composed.expect:
            await self.expect(composed.expect)
        if composed.publish:
            publication = self._new_id()
            messages = [with_publication(each, publication) for each in composed.publish]
            refused = await self._publish(messages)
        if composed.records:
            await self._insist(self._backend.store, composed.records)
        if composed.arrivals:
            await self.complete(composed.arrivals)
        return refused


def _cannot_count(chord_id: str, error: NotImplementedError) -> None:
    logger.error("Chord %s will not be completed here: %s", chord_id, error)
