"""``celery.chord_unlock``: how Celery waits for a chord where its result backend cannot count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel.app.task import Task
from umbel.exceptions import (
    BackendGetMetaError,
    BackendUnavailable,
    MaxRetriesExceededError,
    Reject,
)
from umbel.execution import failures
from umbel.model import Composed, FullChord, ResultRecord, arrival_by_chord
from umbel.result.base import result_from_tuple
from umbel.states import READY_STATES
from umbel.wire import chords

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["UnlockChord", "carry_out"]


class UnlockChord(Task[..., None]):
    """Looks whether all members of a chord have ended; sends the body, or looks again later.

    Umbel's own chords do not need it; messages of Celery are run by it.
    """

    name = "celery.chord_unlock"
    max_retries = None
    ignore_result = True

    def __init__(self, app: Umbel) -> None:
        self._app = app
        self.default_retry_delay = app.conf.result_chord_retry_interval

    def run(
        self,
        group_id: str,
        callback: Mapping[str, Any],
        interval: float | None = None,
        max_retries: int | None = None,
        result: Sequence[Any] = (),
        **_: Any,
    ) -> None:
        """Look once.

        Args:
            callback: The body.
            interval: Seconds until the next look.
            result: The result tuples of the members.
        """
        app = self.app
        ids = [leaf.id for each in result for leaf in result_from_tuple(each, app).leaves()]
        trouble = ""
        try:
            records = app.portal.call(_load, app, ids, app.conf.result_chord_join_timeout)
        except (BackendUnavailable, TimeoutError) as error:
            trouble = self._look_later(interval, max_retries, error)
            records = {}
        waiting = [
            id_ for id_ in ids if id_ not in records or records[id_].state not in READY_STATES
        ]
        if waiting and not trouble and not self._is_too_late(interval):
            trouble = self._look_later(interval, max_retries)
        for id_ in waiting:
            lost = BackendGetMetaError("there is no result, or it has expired", task_id=id_)
            records[id_] = failures.failed_unseen(id_, lost, app.codec)
        found = tuple(records[id_] for id_ in ids)
        full = FullChord(id=group_id, records=found, trouble=trouble)
        arrival = chords.arrival(
            callback,
            records[ids[-1]],
            chord_id=group_id,
            index=None,
            root_id=self.request.root_id,
        )
        app.portal.call(carry_out, app, app.composer(arrival, full))

    def _look_later(
        self, interval: float | None, most: int | None, error: Exception | None = None
    ) -> str:
        """Look again in ``interval`` seconds; returns why not, where it was looked often enough.

        Raises:
            Retry: It will be.
        """
        try:
            raise self.retry(countdown=interval, max_retries=most)
        except (MaxRetriesExceededError, Reject) as refusal:
            reason = f"chord_unlock could not be retried: {refusal!r}"
            return reason if error is None else f"{reason} (after {error!r})"

    def _is_too_late(self, interval: float | None) -> bool:
        """Whether members that had ended when this began would have expired by now."""
        kept = self.app.codec.expires
        between = self.default_retry_delay if interval is None else interval
        return kept is not None and (self.request.retries or 0) * between > kept


async def _load(app: Umbel, ids: Sequence[str], timeout: float | None) -> dict[str, ResultRecord]:
    # Costs 20 ms to import, and apps that only send may do without.
    import asyncio

    async with asyncio.timeout(timeout):
        return await (await app.connections.backend()).load(ids)


async def carry_out(app: Umbel, composed: Composed) -> None:
    """Send, store and count what a full chord comes to."""
    backend = await app.connections.backend()
    if composed.expect:
        await backend.expect(composed.expect)
    await app.producer.publish(composed.publish, app.publish_policy({}))
    await backend.store(composed.records)
    arrival_at = arrival_by_chord(composed.arrivals)
    for full in await backend.arrive(composed.arrivals):
        await carry_out(app, app.composer(arrival_at[full.id], full))
        await backend.seal([full.id])
