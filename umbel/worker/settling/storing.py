"""Results on their way to the backend, which may be away, or not take one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from umbel.exceptions import BackendStoreError, BackendUnavailable, EncodeError
from umbel.model import ResultRecord, Settlement
from umbel.protocols import ResultBackend
from umbel.worker.settling.patience import Patience

__all__ = ["Storing"]

logger = logging.getLogger(__name__)


class Storing:
    """Stores results, however long the backend is away; unless the settings say how long is enough.

    A result that the backend refuses for good (it is too large) costs its task the result, and
    nobody else: its task has failed, for that reason.
    """

    def __init__(
        self,
        backend: ResultBackend,
        patience: Patience,
        *,
        fence: Callable[[Sequence[Settlement]], Awaitable[Sequence[Settlement]]],
        failed: Callable[[str, Exception], ResultRecord],
    ) -> None:
        """Make one.

        Args:
            fence: Which settlements are still ours; asked before what has waited is stored.
            failed: The FAILURE of the task of that id.
        """
        self._backend = backend
        self._insist = patience
        self._fence = fence
        self._failed = failed

    async def __call__(
        self, settlements: Sequence[Settlement], *, waited: bool
    ) -> Sequence[Settlement]:
        """Store what they have to store.

        Args:
            waited: Whether they have waited for something before.

        Returns:
            What is still ours: the rest may have run elsewhere meanwhile.
        """
        batch, is_fresh = settlements, not waited

        async def attempt() -> None:
            nonlocal batch, is_fresh
            if not is_fresh:
                batch = await self._fence(batch)
            is_fresh = False
            records = _records(batch)
            if not records:
                return
            try:
                await self._backend.store(records)
            except (BackendStoreError, EncodeError):
                # One by one, to see which.
                for record in records:
                    await self._store_alone(record)

        try:
            await self._insist(attempt)
        except BackendUnavailable as error:
            records = _records(batch)
            logger.critical(
                "The results of %d tasks are lost, the result backend was away for too long "
                "(result_backend_max_retries): %s: %s",
                len(records),
                ", ".join(record.id for record in records[:10]),
                error,
            )
        return batch

    async def _store_alone(self, record: ResultRecord) -> None:
        try:
            await self._backend.store([record])
        except (BackendStoreError, EncodeError) as error:
            logger.error(  # noqa: TRY400 - the sentence says it all
                "The result of task %s cannot be stored, so it fails: %s", record.id, error
            )
            failure = msgspec.structs.replace(
                self._failed(record.id, error), reply_to=record.reply_to
            )
            try:
                await self._backend.store([failure])
            except (BackendStoreError, EncodeError) as trouble:
                logger.critical("Nor can that be stored, nobody will hear of it: %s", trouble)


def _records(settlements: Sequence[Settlement]) -> list[ResultRecord]:
    records = [s.record for s in settlements if s.record is not None]
    return records + [each for settlement in settlements for each in settlement.tail]
