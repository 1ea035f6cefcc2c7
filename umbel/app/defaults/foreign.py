"""Settings that are not ours: those that packages for Celery read from the app's configuration.

They are accepted only where the alias is installed, since such packages need it. A typing error
is to stay an error: a name that begins as ours do, or resembles one, is nobody else's.
"""

from __future__ import annotations

from umbel.app.configuring.suggestions import closest
from umbel.app.defaults import NAME_BY_OLD_NAME, SETTINGS

__all__ = ["allow", "allowed", "is_foreign"]

_WELL_KNOWN = frozenset({"beat_dburi", "beat_engine_options", "beat_schema", "once"})
"""Names of packages that begin as ours do, or are a single word."""

_BEGINNINGS = frozenset(name.partition("_")[0] for name in SETTINGS)
_OURS = ("celery", "umbel")
_RESEMBLES = 0.8

_allowed = False


def allow() -> None:
    """Accept settings of others from now on."""
    global _allowed  # noqa: PLW0603 - the alias is installed once, for the whole process
    _allowed = True


def allowed() -> bool:
    """Whether settings of others are accepted."""
    return _allowed


def is_foreign(name: str) -> bool:
    """Whether a name may be a setting of another package."""
    if not _allowed or name in SETTINGS or name in NAME_BY_OLD_NAME:
        return False
    lower = name.lower()
    if lower in _WELL_KNOWN:
        return True
    first, separator, _ = lower.partition("_")
    if not separator or first.startswith(_OURS) or first in _BEGINNINGS:
        return False
    return not closest(lower, SETTINGS, cutoff=_RESEMBLES)
