"""Becoming another user.

Source:
    Celery internals reference, ``celery.platforms``: names and behaviour. setgid(2) before
    setuid(2): afterwards it is no longer allowed.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from umbel.compat.moved import try_import
from umbel.exceptions import SecurityError

__all__ = [
    "initgroups",
    "maybe_drop_privileges",
    "parse_gid",
    "parse_uid",
    "setgid",
    "setgroups",
    "setuid",
]

# There are no users of that kind on Windows.
_pwd: Any = try_import("pwd")
_grp: Any = try_import("grp")


def parse_uid(uid: int | str) -> int:
    """The number of a user, by number or name.

    Raises:
        KeyError: There is no such user.
    """
    try:
        return int(uid)
    except ValueError:
        return _number(_pwd, "getpwnam", uid, "pw_uid", "User")


def parse_gid(gid: int | str) -> int:
    """The number of a group, by number or name.

    Raises:
        KeyError: There is no such group.
    """
    try:
        return int(gid)
    except ValueError:
        return _number(_grp, "getgrnam", gid, "gr_gid", "Group")


def _number(database: Any, ask: str, name: int | str, field: str, kind: str) -> int:
    try:
        return int(getattr(getattr(database, ask)(name), field))
    except (AttributeError, KeyError):
        raise KeyError(f"{kind} does not exist: {name}") from None


def setgroups(groups: list[int]) -> None:
    """Belong to these groups, as many of them as the system allows.

    Who may not change groups may still ask for those it has.
    """
    most = os.sysconf("SC_NGROUPS_MAX") if hasattr(os, "sysconf") else len(groups)
    try:
        os.setgroups(groups[:most])
    except PermissionError:
        if not set(os.getgroups()) <= set(groups):
            raise


def initgroups(uid: int, gid: int) -> None:
    """Belong to the groups that a user belongs to, and to one more."""
    if _pwd is not None:
        os.initgroups(_pwd.getpwuid(uid).pw_name, gid)


def setgid(gid: int | str) -> None:
    """Change the group of the process; by number or name."""
    os.setgid(parse_gid(gid))


def setuid(uid: int | str) -> None:
    """Change the user of the process; by number or name."""
    os.setuid(parse_uid(uid))


def maybe_drop_privileges(uid: int | str | None = None, gid: int | str | None = None) -> None:
    """Become another user, with its groups, or change the group alone; 0 and None change nothing.

    Args:
        gid: The group; None: the user's own.

    Raises:
        KeyError: There is no such user or group.
        PermissionError: Only root may.
        SecurityError: It would still be possible to become root again.
    """
    if sys.platform == "win32":
        return
    if os.geteuid() and not os.getuid():
        raise SecurityError(
            "cannot change the user: the process was started by root, but runs as user "
            f"{os.geteuid()} for the moment. Start it as root, or as the user it is to be."
        )
    user = parse_uid(uid) if uid else 0
    group = parse_gid(gid) if gid else 0
    if not user:
        if group:
            setgid(group)
        return
    group = group or int(_pwd.getpwuid(user).pw_gid)
    setgid(group)
    initgroups(user, group)
    setuid(user)
    try:
        os.setuid(0)
    except PermissionError:
        # As it must be.
        return
    raise SecurityError(f"user {user} could become root again: this system keeps no saved ids.")
