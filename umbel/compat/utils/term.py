"""Coloured text for terminals.

Source:
    Celery internals reference, ``celery.utils.term``: names. ECMA-48, "SGR": the numbers.
"""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["COLOR_SEQ", "OP_SEQ", "RESET_SEQ", "colored", "fg", "imgcat", "supports_images"]

OP_SEQ = "\033[%dm"
RESET_SEQ = "\033[0m"
COLOR_SEQ = "\033[1;%dm"

_COLORS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


def fg(s: int) -> str:
    """What begins a colour, in bold."""
    return COLOR_SEQ % s


class colored:  # noqa: N801 - documented name
    r"""Text in colours; they may be nested.

    >>> c = colored()
    >>> str(c.red("stop ", c.bold("now")))
    '\x1b[1;31mstop \x1b[1mnow\x1b[0m\x1b[0m'
    >>> c.red("stop ", c.bold("now")).no_color()
    'stop now'
    """

    def __init__(self, *s: object, enabled: bool = True, op: str = "") -> None:
        self.s = s
        self.enabled = enabled and sys.platform != "win32"
        self.op = op

    @property
    def names(self) -> dict[str, Callable[..., colored]]:
        """The methods of the colours, by name."""
        return {name: getattr(self, name) for name in _COLORS}

    def node(self, s: tuple[object, ...], op: str) -> colored:
        """Text that ``op`` begins."""
        return type(self)(*s, enabled=self.enabled, op=op)

    def no_color(self) -> str:
        """The text alone."""
        return "".join(
            part.no_color() if isinstance(part, colored) else str(part) for part in self.s
        )

    def embed(self) -> str:
        """The coloured text, without what ends it."""
        return (self.op if self.enabled else "") + "".join(map(str, self.s))

    def __str__(self) -> str:
        return self.embed() + (RESET_SEQ if self.enabled else "")

    def __repr__(self) -> str:
        return repr(self.no_color())

    def __add__(self, other: object) -> str:
        return f"{self}{other}"

    def black(self, *s: object) -> colored:
        """In black."""
        return self.node(s, fg(30))

    def red(self, *s: object) -> colored:
        """In red."""
        return self.node(s, fg(31))

    def green(self, *s: object) -> colored:
        """In green."""
        return self.node(s, fg(32))

    def yellow(self, *s: object) -> colored:
        """In yellow."""
        return self.node(s, fg(33))

    def blue(self, *s: object) -> colored:
        """In blue."""
        return self.node(s, fg(34))

    def magenta(self, *s: object) -> colored:
        """In magenta."""
        return self.node(s, fg(35))

    def cyan(self, *s: object) -> colored:
        """In cyan."""
        return self.node(s, fg(36))

    def white(self, *s: object) -> colored:
        """In white."""
        return self.node(s, fg(37))

    def bold(self, *s: object) -> colored:
        """In bold."""
        return self.node(s, OP_SEQ % 1)

    def underline(self, *s: object) -> colored:
        """Underlined."""
        return self.node(s, OP_SEQ % 4)

    def blink(self, *s: object) -> colored:
        """Blinking."""
        return self.node(s, OP_SEQ % 5)

    def reverse(self, *s: object) -> colored:
        """With text and background exchanged."""
        return self.node(s, OP_SEQ % 7)

    def bright(self, *s: object) -> colored:
        """With what Celery calls bright."""
        return self.node(s, OP_SEQ % 8)

    def ired(self, *s: object) -> colored:
        """On red."""
        return self.node(s, fg(41))

    def igreen(self, *s: object) -> colored:
        """On green."""
        return self.node(s, fg(42))

    def iyellow(self, *s: object) -> colored:
        """On yellow."""
        return self.node(s, fg(43))

    def iblue(self, *s: object) -> colored:
        """On blue."""
        return self.node(s, fg(44))

    def imagenta(self, *s: object) -> colored:
        """On magenta."""
        return self.node(s, fg(45))

    def icyan(self, *s: object) -> colored:
        """On cyan."""
        return self.node(s, fg(46))

    def iwhite(self, *s: object) -> colored:
        """On white."""
        return self.node(s, fg(47))

    def reset(self, *s: object) -> colored:
        """In no colour."""
        return self.node(s or ("",), RESET_SEQ)


def supports_images() -> bool:
    """Whether the terminal is one that shows pictures: iTerm."""
    return bool(os.environ.get("ITERM_PROFILE")) and sys.stdin.isatty()


def imgcat(path: str, inline: int = 1, preserve_aspect_ratio: int = 0, **_: Any) -> str:
    """What shows a picture in iTerm."""
    inside_screen = os.environ.get("TERM", "").startswith("screen")
    # A multiplexer passes on what is wrapped like this.
    begin, end = ("\033Ptmux;\033\033]", "\a\033\\") if inside_screen else ("\033]", "\a")
    content = base64.b64encode(Path(path).read_bytes()).decode()
    options = f"inline={inline};preserveAspectRatio={preserve_aspect_ratio}"
    return f"\n{begin}1337;File={options}:{content}{end}"
