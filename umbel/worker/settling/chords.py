"""Chords in the worker: the last member's arrival becomes the body's publication, exactly once.

``docs/internals/chords.md`` has the argument.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from umbel.model import Arrival, Composed, Expected, FullChord, Message, arrival_by_chord
from umbel.protocols import Compose, ResultBackend
from umbel.states import SUCCESS
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
        """Say what chords there are, and how many members they have."""
        try:
            await self._insist(self._backend.expect, expected)
        except NotImplementedError as error:
            for each in expected:
                _cannot_count(each.chord_id, error)

    async def complete(self, arrivals: Sequence[Arrival]) -> None:
        """Count members in; send the bodies of the chords that are full now."""
        arrival_at = arrival_by_chord(arrivals)
        try:
            full = await self._insist(self._backend.arrive, arrivals)
        except NotImplementedError as error:
            await self._give_up(arrivals, error)
            return
        for chord in full:
            arrival = arrival_at[chord.id]
            composed = self._compose(arrival, chord)
            if chord.lost and await self._is_over(chord, composed):
                continue
            refused = await self._finish(composed)
            if refused:
                trouble = msgspec.structs.replace(chord, trouble=repr(refused[0]))
                await self._finish(self._compose(arrival, trouble))
        if full:
            await self._insist(self._backend.seal, [chord.id for chord in full])

    async def _give_up(self, arrivals: Sequence[Arrival], error: NotImplementedError) -> None:
        """The bodies fail where nobody counts: once each, as one member has the first place."""
        for chord_id in dict.fromkeys(arrival.chord_id for arrival in arrivals):
            _cannot_count(chord_id, error)
        for arrival in arrivals:
            if arrival.index == 0 and arrival.body:
                full = FullChord(id=arrival.chord_id, records=(), trouble=str(error))
                await self._finish(self._compose(arrival, full))

    async def _is_over(self, chord: FullChord, composed: Composed) -> bool:
        """Whether the body of a chord that seems lost has succeeded: then nothing has been lost but
        the note that it is done, which a worker of Celery's keeps for minutes only."""
        found = await self._insist(self._backend.load, [each.id for each in composed.records])
        if any(record.state == SUCCESS for record in found.values()):
            return True
        logger.error(
            "The result backend has lost the count of chord %s, its body fails: has its data been "
            "deleted, or is it kept too short (result_chord_expires)?",
            chord.id,
        )
        return False

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
