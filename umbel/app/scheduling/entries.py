"""``add_periodic_task``: from a signature to an entry of ``beat_schedule``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["entry_of"]

_RULES = ("relative", "missed", "missed_limit", "overlap", "jitter", "start", "end")


def entry_of(
    schedule: Any,
    sig: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    name: str | None,
    options: Mapping[str, Any],
) -> tuple[str, dict[str, Any]]:
    """The entry's name, and the entry.

    Raises:
        TypeError: ``sig`` is neither a signature nor a task.
    """
    described: Any = sig
    if not isinstance(sig, Mapping):
        make = getattr(sig, "s", None)
        if make is None:
            raise TypeError(
                f"add_periodic_task: {sig!r} is neither a signature nor a task; "
                "pass task.s(arguments)."
            )
        described = make()
    rules = {key: options[key] for key in _RULES if key in options}
    entry: dict[str, Any] = {
        "task": described["task"],
        "schedule": schedule,
        "args": (*args, *(described.get("args") or ())),
        "kwargs": {**(kwargs or {}), **(described.get("kwargs") or {})},
        "options": {
            **(described.get("options") or {}),
            **{key: value for key, value in options.items() if key not in rules},
        },
        **rules,
    }
    return name or repr(described), entry
