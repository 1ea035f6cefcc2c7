"""Result records for the contracts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from umbel.model import ResultRecord
from umbel.protocols import ResultBackend

__all__ = ["MakeBackend", "record", "seen"]

MakeBackend = Callable[[], Awaitable[ResultBackend]]
"""Gives one more open instance on the same store; the fixture closes them all."""


def record(
    id: str, state: str = "SUCCESS", result: object = None, *, expires_at: float | None = None
) -> ResultRecord:
    """A record whose body is the document of its state."""
    document: dict[str, object] = {
        "status": state,
        "result": result,
        "traceback": None,
        "children": [],
        "date_done": "2026-01-01T00:00:00+00:00",
        "task_id": id,
    }
    body = msgspec.json.encode(document)
    return ResultRecord(id=id, state=state, body=body, expires_at=expires_at)


def seen(records: Sequence[ResultRecord]) -> dict[str, str]:
    """Id → state."""
    return {each.id: each.state for each in records}
