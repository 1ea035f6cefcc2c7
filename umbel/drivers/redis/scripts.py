"""The Lua scripts beside this file, by name."""

from __future__ import annotations

from hashlib import sha1
from pathlib import Path

import msgspec

__all__ = ["Script", "script"]

_FOLDER = Path(__file__).parent / "scripts"


class Script(msgspec.Struct, frozen=True):
    """What Redis runs in one step, nobody else's command in between."""

    name: str
    source: bytes
    sha: bytes
    """How Redis calls it once it has it."""


def script(name: str) -> Script:
    """The script ``scripts/<name>.lua``; ``lease.lua`` comes first in those that say so.

    Redis has no modules: what several scripts need is written once and put in front.
    """
    source = (_FOLDER / f"{name}.lua").read_bytes()
    if source.startswith(b"-- needs: envelope\n"):
        source = (_FOLDER / "envelope.lua").read_bytes() + source
    digest = sha1(source, usedforsecurity=False).hexdigest()
    return Script(name, source, digest.encode())
