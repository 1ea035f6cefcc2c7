"""What the URLs of brokers and result backends mean: the files behind them, and what of them people
may see."""

from __future__ import annotations

import os
import re
import sys

__all__ = ["database_of", "default_database", "safe_url", "shown_url"]


def database_of(url: str, project: str) -> str:
    """The file behind a ``sqlite://`` URL: three slashes for a relative path, four for an
    absolute one, none for the project's own.

    Source:
        The form is SQLAlchemy's.

    >>> database_of("sqlite:////var/lib/shop/queue.db", "shop")
    '/var/lib/shop/queue.db'
    """
    # Costs 3 ms to import, as at safe_url; only who opens a connection looks into URLs.
    from urllib.parse import unquote

    path = unquote(url.partition("://")[2]) if "://" in url else ""
    if path in {"", "/"}:
        return default_database(project)
    return path.removeprefix("/")


def default_database(project: str) -> str:
    """Where a project's queue and results live when no broker is configured.

    One file per project in the user's state directory, so that producers and workers find the
    same one from any working directory, and two projects never share one.
    ``UMBEL_STATE_DIR`` moves the directory.

    Args:
        project: The folder that the app was made in, and its main name.
    """
    # Costs 3 ms to import; only the embedded default needs it.
    import hashlib

    digest = hashlib.sha256(project.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", os.path.basename(project)).strip("-") or "app"
    return os.path.join(_state_directory(), f"{readable}-{digest}.db")


def _state_directory() -> str:
    chosen = os.environ.get("UMBEL_STATE_DIR")
    if chosen:
        return chosen
    if sys.platform == "win32":
        parent = os.environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
    elif sys.platform == "darwin":
        parent = os.path.expanduser("~/Library/Application Support")
    else:
        parent = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(parent, "umbel")


def shown_url(url: str, project: str) -> str:
    """Where ``url`` leads, fit for people: :func:`safe_url`, and for SQLite the file itself.

    >>> shown_url("sqlite:////var/lib/queue.db", "shop")
    'sqlite:////var/lib/queue.db'
    """
    if url.startswith("sqlite:"):
        return f"sqlite:///{os.path.abspath(database_of(url, project))}"
    return safe_url(url)


def safe_url(url: str) -> str:
    """The URL, fit for logs: without its password, and without secrets among its options.

    >>> safe_url("redis://user:secret@example.com:6379/0")
    'redis://user:**@example.com:6379/0'
    """
    return ";".join(_safe_one(one) for one in url.split(";"))


def _safe_one(url: str) -> str:
    # See database_of.
    from urllib.parse import urlsplit

    hidden = re.sub(r"(?i)([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&]*", r"\1**", url)
    try:
        password = urlsplit(hidden).password
    except ValueError:
        password = None
    if password is None and "@" not in hidden:
        return hidden
    return re.sub(r"(://[^/:@]*:)[^/]*(@)", r"\1**\2", hidden, count=1)
