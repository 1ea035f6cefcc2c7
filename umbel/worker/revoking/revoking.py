"""Carrying out revocations: remember them, tell those who come later, stop what is here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from signal import Signals

from umbel import states
from umbel.exceptions import BackendUnavailable, BrokerUnavailable
from umbel.execution import failures
from umbel.model import Revocation
from umbel.protocols import Clock, Pool, ResultBackend, RevocationStore
from umbel.wire.results import ResultCodec
from umbel.worker import reports
from umbel.worker.fetching.admission import Accepted
from umbel.worker.fetching.known import KnownTasks
from umbel.worker.revoking.statedb import StateFile
from umbel.worker.settling.batches import in_batches
from umbel.worker.settling.conclusion import Conclusions
from umbel.worker.settling.finish import Finish
from umbel.worker.state import State

__all__ = ["Revoking"]

logger = logging.getLogger(__name__)

_LOOK = 5.0
"""Seconds between two looks at what others have revoked."""
_BATCH = 1000
_UNSEEN = frozenset({states.PENDING, states.RECEIVED, states.RETRY, states.REJECTED})
"""States of tasks that nobody runs."""


class Revoking:
    """What a worker does when tasks are revoked, and to know of those revoked before."""

    def __init__(
        self,
        *,
        store: RevocationStore | None,
        file: StateFile | None,
        backend: ResultBackend,
        codec: ResultCodec,
        pool: Pool,
        known: KnownTasks,
        state: State,
        conclusions: Conclusions,
        finish: Finish,
        clock: Clock,
    ) -> None:
        """Make one.

        Args:
            store: Where the broker keeps them for all workers, if it does.
            file: Where this worker keeps them, if it does.
        """
        self._revocations = state.revocations
        self._known = known
        self._store = store
        self._file = file
        self._backend = backend
        self._codec = codec
        self._pool = pool
        self._state = state
        self._conclusions = conclusions
        self._finish = finish
        self._clock = clock
        self._mark = 0
        self._written = 0

    async def load(self) -> None:
        """Learn what was revoked before this worker was there."""
        if self._file is not None:
            self._revocations.add(self._file.read())
            self._written = self._revocations.version
        await self._learn()

    async def run(self) -> None:
        """Go on learning what others revoke, and keep the file up to date, until cancelled."""
        while self._store is not None or self._file is not None:
            await self._clock.sleep(_LOOK)
            await self._drop(await self._learn())
            self.write()

    def write(self) -> None:
        """Bring the file up to date."""
        version = self._revocations.version
        file = self._file
        if file is not None and self._written != version and file.write(self._revocations):
            self._written = version

    async def revoke(
        self,
        revocations: Sequence[Revocation],
        *,
        terminate: bool = False,
        signal: str | int | None = None,
    ) -> list[str]:
        """See that the tasks do not run, here or anywhere where this is known.

        Args:
            terminate: Whether to end those that run here, by ``signal``: a name (``KILL``,
                ``SIGKILL``) or a number; None: TERM.

        Returns:
            The ids of the tasks that are being ended.

        Raises:
            ValueError: There is no such signal.
        """
        number = _signal(signal)
        self._revocations.add(revocations)
        self.write()
        await self._share(revocations)
        await self._drop(revocations)
        ended = await self._terminate(revocations, number) if terminate else []
        await self._mark_as_revoked([each.id for each in revocations if each.id])
        return ended

    async def _share(self, revocations: Sequence[Revocation]) -> None:
        if self._store is None:
            return
        try:
            for batch in in_batches(revocations, _BATCH):
                await self._store.add(batch, keep=self._revocations.most)
        except BrokerUnavailable as error:
            # The other workers were told as well; only one that starts later does not know.
            logger.warning("Could not keep %d revocations: %s", len(revocations), error)

    async def _learn(self) -> list[Revocation]:
        if self._store is None:
            return []
        try:
            found, self._mark = await self._store.since(self._mark)
        except BrokerUnavailable as error:
            logger.warning("Could not ask what has been revoked: %s", error)
            return []
        return self._revocations.add(found)

    async def _drop(self, revocations: Sequence[Revocation]) -> None:
        """Take out of the pool what has not started there."""
        keys = [key for key, _ in self._matching(revocations)]
        if not keys:
            return
        for accepted in await self._finish.withdraw(keys):
            request = accepted.request
            task = self._known.task(request.task)
            reports.revoked(accepted, task, self._revocations.find(request))
            self._finish.enter([self._conclusions.revoked(accepted)])

    async def _terminate(self, revocations: Sequence[Revocation], signal: Signals) -> list[str]:
        found = self._matching(revocations)
        for key, accepted in found:
            request = accepted.request
            logger.info("Terminating %s (%s)", request.id, signal)
            self._conclusions.terminate(key, signal, self._known.task(request.task))
        if found:
            await self._pool.cancel([key for key, _ in found], signal=signal.name)
        return [accepted.request.id for _, accepted in found]

    def _matching(self, revocations: Iterable[Revocation]) -> list[tuple[int, Accepted]]:
        wanted = set(revocations)
        return [
            (key, accepted)
            for key, accepted in self._state.active.items()
            if self._revocations.find(accepted.request) in wanted
        ]

    async def _mark_as_revoked(self, ids: Sequence[str]) -> None:
        """Say so at once of what nobody has started: its message may be due in a year."""
        here = {accepted.request.id for accepted in self._state.active.values()}
        unknown = [id for id in ids if id not in here]
        try:
            for batch in in_batches(unknown, _BATCH):
                records = await self._backend.load(batch)
                await self._backend.store(
                    [
                        failures.revoked_unseen(id, self._codec)
                        for id in batch
                        if id not in records or records[id].state in _UNSEEN
                    ]
                )
        except BackendUnavailable as error:
            logger.warning("Failed to mark tasks as revoked in backend: %s", error)


def _signal(given: str | int | None) -> Signals:
    """A signal by its name or number; TERM by default.

    >>> _signal("kill") is _signal(9) is _signal("SIGKILL")
    True
    """
    try:
        if isinstance(given, int) or (given and given.isdigit()):
            return Signals(int(given))
        name = (given or "TERM").upper()
        return Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except (KeyError, ValueError):
        raise ValueError(f"{given!r} is not a signal of this system") from None
