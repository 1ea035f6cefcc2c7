"""Learning from the other workers, once, when a worker starts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from umbel.app.operating.mailbox import Asking
from umbel.exceptions import BrokerUnavailable, OperationalError
from umbel.serialization.shapes import is_dict, is_list

if TYPE_CHECKING:
    from umbel.protocols import Fanout
    from umbel.worker.worker import Worker

__all__ = ["mingle"]

logger = logging.getLogger(__name__)

_PATIENCE = 1.0
"""Seconds without a reply after which no more are expected, where nobody knows how many."""


async def mingle(worker: Worker, fanout: Fanout) -> list[str]:
    """Ask the others what has been revoked, and for their logical clocks; tell them what we know.

    Returns:
        The names of the others.

    Source:
        Celery user guide, Workers: ``--without-mingle``; the command ``hello`` and the lines of
        the log.
    """
    logger.info("mingle: searching for neighbors")
    revocations = worker.state.revocations
    try:
        asking = Asking(
            worker.app,
            "hello",
            {"from_node": worker.hostname, "revoked": revocations.ids},
            fanout=fanout,
        )
        replies = await asking.call(timeout=_PATIENCE, limit=None, callback=None)
    except (BrokerUnavailable, OperationalError) as error:
        logger.warning("mingle: cannot ask: %s", error)
        return []
    told = {
        node: value
        for reply in replies
        for node, value in reply.items()
        if node != worker.hostname and is_dict(value) and "error" not in value
    }
    if not told:
        logger.info("mingle: all alone")
        return []
    logger.info("mingle: sync with %s nodes", len(told))
    for value in told.values():
        learn(worker, value)
    logger.info("mingle: sync complete")
    return list(told)


def learn(worker: Worker, value: dict[str, Any]) -> None:
    """Take over what another worker knows; what is not of the known shape is ignored."""
    clock = value.get("clock")
    if isinstance(clock, int):
        worker.app.clock.adjust(clock)
    revoked = value.get("revoked")
    # Celery before 5.7 sends the moments with the ids.
    given = list(revoked) if is_list(revoked) or is_dict(revoked) else []
    ids = [each for each in given if isinstance(each, str)]
    if ids:
        worker.learn_revoked(ids)
