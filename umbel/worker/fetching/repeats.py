"""Messages of tasks that are being run, or were, because of another message of theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from umbel.exceptions import UmbelError
from umbel.model import Request, ResultRecord
from umbel.states import SUCCESS
from umbel.wire import headers
from umbel.wire.tasks import read_body
from umbel.worker.fetching.admission import Accepted
from umbel.worker.fetching.refusals import Refusals
from umbel.worker.fetching.source import Source
from umbel.worker.settling.patience import Patience

__all__ = ["Repeats"]


class Repeats:
    """Leaves them out: they are acknowledged, and nothing else."""

    def __init__(
        self,
        source: Source,
        refusals: Refusals,
        *,
        claim: Callable[[Sequence[tuple[str, str]]], Awaitable[list[bool]]],
        load: Callable[[Sequence[str]], Awaitable[Mapping[str, ResultRecord]]],
        deduplicates: bool,
        patience: Patience,
    ) -> None:
        """Make one.

        Args:
            claim: ``ResultBackend.claim``.
            load: ``ResultBackend.load``.
            deduplicates: Whether to ask about tasks that have succeeded.
        """
        self._source = source
        self._claim = claim
        self._load = load
        self._deduplicates = deduplicates
        self._refusals = refusals
        self._insist = patience

    async def leave_out(self, run: list[Accepted]) -> list[Accepted]:
        """What is to be run of ``run``."""
        any_named = any([accepted.request.publication for accepted in run])  # noqa: C419 - no call each
        if any_named:
            run = await self._without_claimed(run)
        if any_named or self._deduplicates:
            run = await self._without_successful(run)
        return run

    async def _without_claimed(self, run: list[Accepted]) -> list[Accepted]:
        """Leave out what another publication of the same task is, or was, run for."""
        named = [each for each in run if each.request.publication not in (None, headers.AGAIN)]
        if not named:
            return run
        pairs = [(_turn(each.request), each.request.publication or "") for each in named]
        ours = await self._insist(self._claim, pairs)
        repeats = [each for each, is_ours in zip(named, ours, strict=True) if not is_ours]
        if not repeats:
            return run
        self._refusals.repeated(repeats)
        return [each for each in run if each not in repeats]

    async def _without_successful(self, run: list[Accepted]) -> list[Accepted]:
        """Leave out what is published again, or delivered again where that is asked for, and has
        succeeded. What follows a task is published before its result is stored, so that is out as
        well; a member of a chord runs again all the same, because it is counted last.

        Source:
            Celery reference, Configuration, ``worker_deduplicate_successful_tasks``: tasks with
            late acknowledgement that were delivered before and whose result says SUCCESS.
        """
        again = [each for each in run if self._may_be_done(each)]
        if not again:
            return run
        try:
            records = await self._insist(self._load, [each.request.id for each in again])
        except NotImplementedError:
            # No results are kept.
            return run
        done = [
            each
            for each in again
            if (record := records.get(each.request.id)) is not None
            and record.state == SUCCESS
            and not self._is_member(each)
        ]
        if not done:
            return run
        self._refusals.already_successful(done)
        return [each for each in run if each not in done]

    def _may_be_done(self, accepted: Accepted) -> bool:
        if accepted.request.publication == headers.AGAIN:
            return True
        return self._deduplicates and accepted.options.acks_late and accepted.delivery.redelivered

    def _is_member(self, accepted: Accepted) -> bool:
        source = self._source
        try:
            body = read_body(accepted.request, accept=source.accept, limit=source.limit)
        except UmbelError:
            # Whoever runs it says what is wrong with it.
            return True
        return bool(body.chord)


def _turn(request: Request) -> str:
    """What publications are told apart for: the task; what has taken its place has its id, too."""
    nesting = headers.read(request.message).get("replaced_task_nesting")
    return f"{request.id}:{nesting}" if nesting else request.id
