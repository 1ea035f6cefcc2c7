"""What is known of one setting."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Setting"]


class Setting(msgspec.Struct, frozen=True):
    """A setting: its name, what it may be, what it is unless configured, and what it does."""

    name: str
    kind: str
    """The kinds of values it takes, for example ``"float | None"``; the words are those of
    :data:`umbel.app.configuring.values.KINDS`."""
    # Any: settings hold whatever users may configure.
    default: Any
    text: str
    """One sentence."""
    old: str | None = None
    """The upper-case name it had before Celery 4."""
    choices: tuple[object, ...] = ()
    """The only values it may have; empty: any of its kind."""
    least: float | None = None
    """The smallest number it may be."""
    own: bool = False
    """Whether it is umbel's, not Celery's."""
