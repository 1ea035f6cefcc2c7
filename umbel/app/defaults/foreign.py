"""Settings that are not ours: those that packages and programs for Celery keep in the app's
configuration, and read from there.

They are accepted only where the alias is installed, since such packages need it. A typing error
is to stay an error: a name that begins as ours do, or is nearly one, is nobody else's.
"""

from __future__ import annotations

from umbel.app.configuring.suggestions import misspelt
from umbel.app.defaults import NAME_BY_OLD_NAME, SETTINGS

__all__ = ["allow", "allowed", "is_foreign", "meant"]

_WELL_KNOWN = frozenset({"beat_dburi", "beat_engine_options", "beat_schema"})
"""Names of packages that begin as ours do."""

_BEGINNINGS = frozenset({"task", "worker", "beat", "broker", "result", "event", "control"})
_OURS = ("celery", "umbel")
_OLD_BEGINNINGS = ("CELERY", "BROKER_")
_OLD_PREFIX = "CELERY_"

_allowed = False


def allow() -> None:
    """Accept settings of others from now on."""
    global _allowed  # noqa: PLW0603 - the alias is installed once, for the whole process
    _allowed = True


def allowed() -> bool:
    """Whether settings of others are accepted."""
    return _allowed


def meant(name: str) -> str | None:
    """The setting that a name is a misspelling of, in the style of the name; None: of none.

    >>> meant("task_ack_late"), meant("CELERY_TASK_SERIALISER"), meant("beat_dburi")
    ('task_acks_late', 'CELERY_TASK_SERIALIZER', None)
    """
    if name.lower() in _WELL_KNOWN:
        return None
    if not name.isupper():
        return misspelt(name, SETTINGS)
    if not name.startswith(_OLD_BEGINNINGS):
        return None
    # The prefix is the same in all of them: it would make any two look alike.
    prefix = _OLD_PREFIX if name.startswith(_OLD_PREFIX) else ""
    rests = [old[len(prefix) :] for old in NAME_BY_OLD_NAME if old.startswith(prefix)]
    found = misspelt(name[len(prefix) :], rests)
    return f"{prefix}{found}" if found else None


def is_foreign(name: str) -> bool:
    """Whether a name may be a setting of another package, or of the program itself."""
    if not _allowed or name in SETTINGS or name in NAME_BY_OLD_NAME:
        return False
    if name.lower() in _WELL_KNOWN:
        return True
    if not name.isupper():
        first = name.lower().partition("_")[0]
        if first.startswith(_OURS) or first in _BEGINNINGS:
            return False
    return meant(name) is None
