"""Which app is current, for layers that know no apps: they ask, and the app layer answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["answer_with", "current_app"]

_find: Callable[[], Any] | None = None


def answer_with(find: Callable[[], Any]) -> None:
    """Say how the current app is found."""
    global _find  # noqa: PLW0603 - set once, by the composition root
    _find = find


def current_app() -> Any:
    """The current app: whatever part of it the caller's protocol names."""
    assert _find is not None, "umbel.app has not been imported"
    return _find()
