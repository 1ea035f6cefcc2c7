"""Hide what should not be seen: keys that name secrets, passwords in URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

__all__ = ["HIDDEN", "censored", "without_passwords"]

HIDDEN = "********"

# Source: Celery reference, ``Settings.humanize``; celery-surface "censored_key_regex".
_SECRET_KEY = re.compile(
    r"API|TOKEN|KEY|SECRET|PASS|PROFANITIES_LIST|SIGNATURE|DATABASE|BEAT_DBURI", re.IGNORECASE
)
# From the colon after the user name to the last @ before the next URL: passwords that were not
# quoted may hold slashes and at-signs.
_PASSWORD_IN_URL = re.compile(
    r"""(://[^:/\s'"@]*:)(?:(?![;,]\s*\w[\w+.-]*://)[^\s'"])*@""", re.ASCII
)
_SECRET_IN_QUERY = re.compile(r"(?i)([?&][^=&\s]*(?:pass|secret|token|key)[^=&\s]*=)[^&\s'\"]*")
_SECRET_IN_REPR = re.compile(
    r"""(?i)(\b\w*(?:password|passwd|secret|token|api_?key)\w*['"]?\s*[=:]\s*)(['"]).*?\2"""
)
_PLAIN = (bool, int, float, type(None), timedelta)


def without_passwords(text: str) -> str:
    """The text with the passwords of the URLs in it hidden.

    >>> without_passwords("redis://joe:p@ss/word@example.com/0")
    'redis://joe:********@example.com/0'
    """
    hidden = _PASSWORD_IN_URL.sub(rf"\1{HIDDEN}@", text)
    return _SECRET_IN_QUERY.sub(rf"\1{HIDDEN}", hidden)


def censored(key: object, value: Any) -> Any:
    """The value, fit to be shown, for a setting or option of that name.

    What is neither a number, a text nor a collection of such becomes its ``repr``.

    >>> censored("security_key", "abc"), censored("broker_url", "redis://:abc@host")
    ('********', 'redis://:********@host')
    """
    if value is None or isinstance(value, bool):
        return value
    if _is_secret(key):
        return HIDDEN
    if isinstance(value, str):
        return without_passwords(value)
    if isinstance(value, Mapping | list | tuple):
        return _collection(value)
    return value if isinstance(value, _PLAIN) else _representation(value)


# Any: what users configure.
def _collection(value: Any) -> Any:
    if hasattr(value, "items"):
        return {_text(name): censored(name, one) for name, one in value.items()}
    items: list[Any] = [censored(None, one) for one in value]
    return items if isinstance(value, list) else tuple(items)


def _is_secret(key: object) -> bool:
    return isinstance(key, str) and _SECRET_KEY.search(key) is not None


def _representation(value: object) -> str:
    return _SECRET_IN_REPR.sub(rf"\1\2{HIDDEN}\2", without_passwords(repr(value)))


def _text(name: object) -> object:
    return without_passwords(name) if isinstance(name, str) else name
