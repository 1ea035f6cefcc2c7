"""More about text.

Source:
    Celery reference, ``celery.utils.text``: names and forms.
"""

from __future__ import annotations

import io
import re
from pprint import pformat
from typing import Any

from umbel.serialization.shapes import is_dict, is_list
from umbel.utils.text import ensure_sep

__all__ = [
    "StringIO",
    "WhateverIO",
    "ensure_newlines",
    "match_case",
    "pretty",
    "remove_repeating",
    "remove_repeating_from_task",
]

StringIO = io.StringIO


class WhateverIO(io.StringIO):
    """A text file in memory that takes bytes too."""

    def __init__(self, v: str | bytes | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(v.decode() if isinstance(v, bytes) else v, *args, **kwargs)

    def write(self, data: str | bytes) -> int:
        """Take text, or bytes in UTF-8."""
        return super().write(data.decode() if isinstance(data, bytes) else data)


def ensure_newlines(s: str, n: int = 2) -> str:
    r"""The text, ending in at least ``n`` newlines.

    >>> ensure_newlines("so")
    'so\n\n'
    """
    return ensure_sep("\n", s, n)


def match_case(s: str, other: str) -> str:
    """The text in capitals if ``other`` is, else in small letters.

    >>> match_case("broker_url", "CELERY_")
    'BROKER_URL'
    """
    return s.upper() if other.isupper() else s.lower()


def pretty(value: Any, width: int = 80, nl_width: int = 80, sep: str = "\n", **kw: Any) -> str:
    """A value for a terminal; dicts and tuples begin a line of their own."""
    if is_dict(value):
        return f"{sep} {pformat(value, 4, nl_width)[1:]}"
    if is_list(value) and isinstance(value, tuple):
        return f"{sep}    {pformat(value, width=nl_width, **kw)}"
    return pformat(value, width=width, **kw)


def remove_repeating_from_task(task_name: str, s: str) -> str:
    """The text with the module of a task's name where it is first said only.

    >>> remove_repeating_from_task("proj.add", "proj.add(2), proj.mul(3)")
    'proj.add(2), mul(3)'
    """
    module = str(task_name).rpartition(".")[0]
    return remove_repeating(f"{module}.", s) if module else s


def remove_repeating(substr: str, s: str) -> str:
    """The text without ``substr`` where it begins a word, except for its first occurrence.

    >>> remove_repeating("t.", "t.add(2) | t.add(4) | at.mul(8)")
    't.add(2) | add(4) | at.mul(8)'
    """
    head, found, rest = s.partition(substr)
    if not found:
        return s
    return head + found + re.sub(rf"(?<![\w.-]){re.escape(substr)}", "", rest)
