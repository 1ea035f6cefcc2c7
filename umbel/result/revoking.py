"""Telling workers not to run tasks, from their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from umbel.result.waiting import ResultSource

__all__ = ["revoke", "revoke_stamped"]

_AT_ONCE = 10_000
"""Ids in one broadcast."""


class _Control(Protocol):
    def revoke(self, task_id: str | Sequence[str], **options: object) -> Any: ...

    def revoke_by_stamped_headers(self, headers: Mapping[str, Any], **options: object) -> Any: ...


def revoke(
    source: ResultSource,
    ids: Sequence[str],
    terminate: bool,
    signal: str | None,
    wait: bool,
    timeout: float | None,
) -> Any:
    """Revoke tasks; returns the workers' replies, if waited for."""
    replies: list[Any] = []
    for start in range(0, len(ids), _AT_ONCE):
        some = list(ids[start : start + _AT_ONCE])
        replies += (
            _control(source).revoke(
                some[0] if len(ids) == 1 else some,
                terminate=terminate,
                reply=wait,
                **_given(signal=signal, timeout=timeout),
            )
            or ()
        )
    return replies if wait else None


def revoke_stamped(
    source: ResultSource,
    headers: Mapping[str, Any],
    terminate: bool,
    signal: str | None,
    wait: bool,
    timeout: float | None,
) -> Any:
    """Revoke tasks by their stamps; returns the workers' replies, if waited for."""
    return _control(source).revoke_by_stamped_headers(
        headers, terminate=terminate, reply=wait, **_given(signal=signal, timeout=timeout)
    )


def _given(**options: object) -> dict[str, object]:
    return {name: value for name, value in options.items() if value is not None}


def _control(source: ResultSource) -> _Control:
    return cast("_Control", cast("Any", source).control)
