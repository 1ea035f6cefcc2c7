"""What every child is doing, in memory that outlives it."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

__all__ = ["NONE", "SLOTS", "Slots"]

_FIELDS: Final = 5

SLOTS: Final = 4096
"""Most children there can be. A slot nobody uses costs no memory."""
NONE: Final = -1
"""No request."""


class Slots:
    """For each child the request it started last, and when: one 8-byte store each.

    Written by the child that has the slot, read by the parent. The time is written first, so
    that whoever sees a key sees a time that is not older. Never cleared by the child: a
    request that has ended is known by its outcome.

    Three fields go the other way. ``ordered``: whether the parent wants the child to obey
    SIGTERM. ``overtime``: the request whose soft time limit is over; the child clears it when it
    has raised that inside the task. ``doomed``: the request for which the child is about to be
    killed; a child that has finished that one starts nothing until it is cleared, so that the
    next one is not killed in its place.
    """

    def __init__(self, fd: int = -1) -> None:
        """Map the file ``fd``, or memory that only processes forked later share."""
        self._fd = fd
        memory = memoryview(mmap.mmap(fd, SLOTS * 8 * _FIELDS))
        self.keys = memory[: SLOTS * 8].cast("q")
        self.times = memory[SLOTS * 8 : SLOTS * 16].cast("d")
        self.ordered = memory[SLOTS * 16 : SLOTS * 24].cast("q")
        self.overtime = memory[SLOTS * 24 : SLOTS * 32].cast("q")
        self.doomed = memory[SLOTS * 32 :].cast("q")

    @classmethod
    def in_file(cls) -> Slots:
        """Make memory that processes can map which are not forked from this one."""
        with tempfile.TemporaryFile() as file:
            file.truncate(SLOTS * 8 * _FIELDS)
            return cls(os.dup(file.fileno()))

    def file(self) -> int:
        """The descriptor of the file that :meth:`in_file` made."""
        assert self._fd >= 0, "memory without a file is shared by forking only"
        return self._fd

    def close(self) -> None:
        """Let go of the file; the memory stays as long as it is used."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def clear(self, slot: int) -> None:
        """Nothing was started yet, and nothing ordered."""
        self.times[slot] = 0.0
        self.ordered[slot] = 0
        self.overtime[slot] = NONE
        self.doomed[slot] = NONE
        self.keys[slot] = NONE
