"""What SQLite's errors mean, and what to do about them."""

from __future__ import annotations

import sqlite3

__all__ = ["Unusable", "explain", "is_busy", "is_damaged"]

_LOCKED = "another program has locked it: one that is stopped, or in a long transaction"
_CAUSES = {
    "SQLITE_BUSY": _LOCKED,
    "SQLITE_LOCKED": _LOCKED,
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk is full, its quota is used up, or it is failing",
    "SQLITE_READONLY": "the file, or the folder it is in, is not writable for this user",
    "SQLITE_CANTOPEN": "its folder does not exist, or this user may not use it",
    "SQLITE_PERM": "this user may not use it",
    "SQLITE_NOTADB": "the file is something else than a SQLite database, or encrypted",
    "SQLITE_CORRUPT": "the file is damaged; restore a copy, or move it away to begin anew",
    "SQLITE_PROTOCOL": "its file system does not lock files as SQLite needs it (a network share?)",
}


class Unusable(Exception):
    """The database cannot be used; says why in the words of :func:`explain`."""


def is_busy(error: sqlite3.Error) -> bool:
    """Whether it is worth asking again at once."""
    return _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def is_damaged(error: BaseException | None) -> bool:
    """Whether the file is no database, or none any more."""
    return isinstance(error, sqlite3.Error) and _name(error).startswith(
        ("SQLITE_NOTADB", "SQLITE_CORRUPT")
    )


def explain(error: Exception, path: str) -> str:
    """A sentence: which file, what happened, the likely cause."""
    if isinstance(error, Unusable):
        return str(error)
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return f"cannot use the database {path!r}: {reason}. May this user write there?"
    name = _name(error)
    cause = next((text for code, text in _CAUSES.items() if name.startswith(code)), None)
    hint = f" Likely cause: {cause}." if cause else ""
    return f"cannot use the database {path!r}: {error} ({name or type(error).__name__}).{hint}"


def _name(error: Exception) -> str:
    return getattr(error, "sqlite_errorname", "")
