"""Which of the received messages may run, and what becomes of the others. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf

import msgspec

from umbel.execution.runnable import TaskOptions
from umbel.model import Delivery, Request
from umbel.worker.revoking.revocations import Revocations

__all__ = ["Accepted", "Ruling", "admit"]


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A request that this worker answers for, with the message it came in."""

    request: Request
    delivery: Delivery
    options: TaskOptions
    """The task's, as they were when the request was accepted."""


class Ruling(msgspec.Struct, frozen=True):
    """What becomes of a batch; every request of it is in exactly one of the lists, but for
    ``begin``, which repeats deliveries of ``run``."""

    run: list[Accepted]
    begin: list[Delivery]
    """To be begun before anything of ``run`` starts (tasks without ``acks_late``)."""
    hold: list[Accepted]
    """Not due yet, and the broker cannot wait: held here until :attr:`Request.eta`."""
    limited: list[Accepted]
    """May run as soon as their type's rate limit lets them."""
    put_off: list[Accepted]
    """Not due yet: given back to the broker until :attr:`Request.eta`."""
    expired: list[Accepted]
    revoked: list[Accepted]
    spent: list[Accepted]
    """As often tried as they may be, and each time their worker died."""
    unknown: list[tuple[Request, Delivery]]
    orphaned: list[tuple[Request, Delivery]]
    """Begun by a worker that died: they must not run again, and nobody has been told."""


def admit(
    arrived: Sequence[tuple[Request, Delivery]],
    options_by_task: Mapping[str, TaskOptions],
    *,
    now: float,
    broker_delays: bool,
    revocations: Revocations,
    max_deliveries: int | None = None,
    is_limited: Callable[[str], bool] | None = None,
) -> Ruling:
    """Sort a batch into what runs now, what waits and what goes.

    Args:
        options_by_task: The tasks that this worker knows.
        now: Unix seconds.
        broker_delays: ``Capabilities.delay`` of the broker that the batch came from.
        max_deliveries: How often what kills its workers may be tried; None: without end.
        is_limited: Which tasks have to wait for their turn; None: none of these.
    """
    ruling = Ruling([], [], [], [], [], [], [], [], [], [])
    any_revoked = revocations.version > 0
    wait = ruling.put_off if broker_delays else ruling.hold
    run = ruling.run
    early = ruling.begin
    most = inf if max_deliveries is None else max_deliveries
    for request, delivery in arrived:
        if delivery.begun:
            ruling.orphaned.append((request, delivery))
            continue
        options = options_by_task.get(request.task)
        if options is None:
            ruling.unknown.append((request, delivery))
            continue
        accepted = Accepted(request, delivery, options)
        if request.expires is not None and request.expires <= now:
            ruling.expired.append(accepted)
        elif any_revoked and revocations.find(request) is not None:
            ruling.revoked.append(accepted)
        elif request.eta is not None and request.eta > now:
            wait.append(accepted)
        elif delivery.attempt > most:
            ruling.spent.append(accepted)
        elif is_limited is not None and is_limited(request.task):
            ruling.limited.append(accepted)
        else:
            run.append(accepted)
            if not options.acks_late:
                early.append(delivery)
    return ruling
