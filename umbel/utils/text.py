"""Small things about text.

Source:
    Celery reference, ``celery.utils.text``: names and forms.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "abbr",
    "abbrtask",
    "dedent",
    "dedent_initial",
    "ensure_sep",
    "fill_paragraphs",
    "indent",
    "join",
    "pluralize",
    "simple_format",
    "str_to_list",
    "truncate",
]


def str_to_list(s: str | list[str]) -> list[str]:
    """The parts between commas.

    >>> str_to_list("mail,images")
    ['mail', 'images']
    """
    return s.split(",") if isinstance(s, str) else s


def dedent_initial(s: str, n: int = 4) -> str:
    """The text without the first ``n`` characters if they are blank.

    >>> dedent_initial("    four", 4)
    'four'
    """
    return s[n:] if s[:n] == " " * n else s


def dedent(s: str, sep: str = "\n") -> str:
    """The text with every line moved left."""
    return sep.join(dedent_initial(line) for line in s.splitlines())


def fill_paragraphs(s: str, width: int, sep: str = "\n") -> str:
    """The text with every paragraph broken into lines of at most ``width``."""
    return sep.join(textwrap.fill(paragraph, width) for paragraph in s.split(sep))


def join(l: Iterable[str], sep: str = "\n") -> str:  # noqa: E741 - documented name
    """The parts that are not empty, joined.

    >>> join(["a", "", "b"], ", ")
    'a, b'
    """
    return sep.join(part for part in l if part)


def ensure_sep(sep: str, s: str, n: int = 2) -> str:
    """The text, ending in at least ``n`` times ``sep``.

    >>> ensure_sep("!", "so!")
    'so!!'
    """
    return s + sep * (n - s.count(sep))


def abbr(S: str, max: int, ellipsis: str | bool = "...") -> str:  # noqa: N803 - documented name
    """The text, cut to ``max`` characters.

    >>> abbr("hello world", 8)
    'hello...'
    """
    if len(S) <= max:
        return S
    return f"{S[: max - len(ellipsis)]}{ellipsis}" if isinstance(ellipsis, str) else S[:max]


def abbrtask(S: str, max: int) -> str:  # noqa: N803 - documented name
    """A task's name, cut in its module.

    >>> abbrtask("proj.long.module.add", 12)
    'proj.l[.]add'
    """
    if len(S) <= max:
        return S
    module, _, name = S.rpartition(".")
    room = max - len(name) - len("[.]")
    return f"{module[:room] if room > 0 else ''}[.]{name}"


def indent(t: str, indent: int = 0, sep: str = "\n") -> str:
    """The text with every line moved right.

    >>> indent("a", 2)
    '  a'
    """
    return sep.join(f"{' ' * indent}{line}" for line in t.split(sep))


def truncate(s: str, maxlen: int = 128, suffix: str = "...") -> str:
    """The text, cut at a word to about ``maxlen`` characters.

    >>> truncate("one two three", 8)
    'one two...'
    """
    if not maxlen or len(s) < maxlen:
        return s
    return s[:maxlen].rsplit(" ", 1)[0] + suffix


def pluralize(n: float, text: str, suffix: str = "s") -> str:
    """The word for ``n`` things.

    >>> pluralize(1, "task"), pluralize(2, "task")
    ('task', 'tasks')
    """
    return text if n == 1 else text + suffix


def simple_format(
    s: str,
    keys: Mapping[str, str | Callable[[], str]],
    pattern: re.Pattern[str] = re.compile(r"%(\w)"),
) -> str:
    """The text with ``%x`` replaced by what ``keys`` has for ``x``.

    Raises:
        ValueError: ``keys`` has nothing for it.

    >>> simple_format("%n@%d and 100%%", {"n": "mail", "d": "a1", "%": "%"})
    'mail@a1 and 100%'
    """

    def value(found: re.Match[str]) -> str:
        key = found[1]
        if key not in keys:
            known = ", ".join(f"%{one}" for one in keys)
            raise ValueError(f"%{key} means nothing in {s!r}. There are {known}.")
        replacement = keys[key]
        return replacement if isinstance(replacement, str) else str(replacement())

    if "%" in keys and pattern.pattern == r"%(\w)":
        pattern = re.compile(r"%([\w%])")
    return pattern.sub(value, s)
