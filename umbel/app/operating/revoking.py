"""Keeping what is revoked where workers that start later look, whoever is there to hear of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from umbel.model.revocation import Revocation, of_headers, of_ids
from umbel.protocols import KeepsRevocations
from umbel.serialization.shapes import is_dict, is_list

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["REVOKES_MAX", "keep", "stamps_of"]

REVOKES_MAX = int(os.environ.get("CELERY_WORKER_REVOKES_MAX", "50000"))
"""How many revocations a worker remembers, and a broker keeps."""
_BATCH = 1000


async def keep(app: Umbel, command: str, arguments: Mapping[str, Any]) -> None:
    """Keep the revocations that a command asks for, if it asks for any and the broker can.

    Workers do so as well; but perhaps none runs at the moment.

    Raises:
        BrokerUnavailable: The broker is away.
    """
    revocations = _asked_for(command, arguments)
    if not revocations:
        return
    broker = await app.connections.broker()
    if isinstance(broker, KeepsRevocations):
        for first in range(0, len(revocations), _BATCH):
            await broker.revocations.add(revocations[first : first + _BATCH], keep=REVOKES_MAX)


def _asked_for(command: str, arguments: Mapping[str, Any]) -> list[Revocation]:
    """What does not have the documented form is for the workers to refuse.

    >>> _asked_for("terminate", {"signal": "KILL", "task_id": ["a"]})
    [Revocation(id='a', header='', value='')]
    """
    if command in {"revoke", "terminate"}:
        ids = arguments.get("task_id")
        return of_ids(map(str, ids) if is_list(ids) else [ids] if isinstance(ids, str) else [])
    if command == "revoke_by_stamped_headers":
        with suppress(ValueError):
            return of_headers(stamps_of(arguments.get("headers")))
    return []


def stamps_of(headers: Any) -> dict[str, Any]:
    """Headers by name; on the command line they are ``name=value``.

    Raises:
        ValueError: They are neither a mapping nor such a list.
    """
    if is_dict(headers):
        return {str(name): value for name, value in headers.items()}
    found: dict[str, Any] = {}
    for text in [headers] if isinstance(headers, str) else headers or ():
        name, equals, value = str(text).partition("=")
        if not equals:
            raise ValueError(f"{text!r:.120} is not of the form name=value")
        found[name] = value
    return found
