"""Processes that start from nothing: children (``spawn``) and zygotes (``forkserver``).

A new interpreter reads what it is to be from a file that it inherits.
``make_runner`` is pickled for it, so it has to be a function that can be imported by name, or
a ``functools.partial`` of one with arguments that can be pickled.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from umbel.pools.prefork.child import Seat, Traits, be_child, say
from umbel.pools.prefork.process import die_with
from umbel.pools.prefork.slots import Slots
from umbel.pools.prefork.zygote import be_zygote
from umbel.protocols import Runner

__all__ = ["Birth", "launch", "main"]


logger = logging.getLogger(__name__)

_PROGRAM = """
import pickle, sys
file = open(int(sys.argv[1]), "rb")
sys.path[:] = pickle.load(file)
exec(pickle.load(file))
from umbel.pools.prefork.fresh import main
main(file)
"""


Be: TypeAlias = Callable[[Callable[[], Runner], Seat, Traits], int]
"""See :func:`umbel.pools.prefork.child.be_child`."""


class Birth(NamedTuple):
    """What the processes of one pool have in common."""

    make_runner: bytes
    """Pickled."""
    slots: int
    """The file descriptor of the shared memory."""
    traits: Traits
    be: Be = be_child
    """What a child is from then on; importable by name."""
    process: str = "SpawnPoolWorker"
    """What children are called, before the hyphen and their number."""
    first: str = ""
    """What the interpreter runs before it imports anything."""

    @classmethod
    def of(
        cls, make_runner: Callable[[], Runner], slots: Slots, traits: Traits, **more: Any
    ) -> Birth:
        """What the processes are told.

        Raises:
            ValueError: ``make_runner`` cannot be pickled.
        """
        try:
            pickled = pickle.dumps(make_runner)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{make_runner!r} cannot be sent to another interpreter ({error}); use a function "
                "that can be imported by name, or the start method 'fork'"
            ) from error
        return cls(pickled, slots.file(), traits, **more)


def launch(
    birth: Birth, ends: list[socket.socket], *, number: int = 0, slot: int = 0
) -> subprocess.Popen[bytes]:
    """Start an interpreter that becomes a child (two ``ends``) or a zygote (one).

    Raises:
        OSError: The process could not be started.
    """
    fds = [end.fileno() for end in ends]
    with tempfile.TemporaryFile() as file:
        # One after the other: the import path has to be right before anything else is read.
        pickle.dump(sys.path, file)
        pickle.dump(birth.first, file)
        pickle.dump((os.getpid(), number, slot, fds, birth), file)
        file.flush()
        file.seek(0)
        command = [sys.executable, "-c", _PROGRAM, str(file.fileno())]
        inherited = (*fds, birth.slots, file.fileno())
        # This interpreter, this program.
        return subprocess.Popen(command, pass_fds=inherited, stdin=subprocess.DEVNULL)  # noqa: S603


def main(file: BinaryIO) -> None:
    """Become what the file says; does not return."""
    code = 1
    try:
        code = _become(file)
        sys.stdout.flush()
    except Exception:
        # For example: make_runner is defined in the parent's main script, which is not ours.
        logger.critical("Process %d cannot become a worker's", os.getpid(), exc_info=True)
    finally:
        # As in forked children: nothing that modules registered for an ordinary exit.
        os._exit(code)


def _become(file: BinaryIO) -> int:
    # Written by the parent, in a file that only the two can open.
    parent, number, slot, fds, birth = pickle.load(file)  # noqa: S301
    file.close()
    ends = [socket.socket(fileno=fd) for fd in fds]
    try:
        make_runner: Callable[[], Runner] = pickle.loads(birth.make_runner)  # noqa: S301
    except Exception as error:
        if len(ends) > 1:
            say(ends[1], repr(error))
        raise
    slots = Slots(birth.slots)
    if len(ends) == 1:
        be_zygote(ends[0], make_runner, slots, birth.traits)
    die_with(parent)
    seat = Seat(ends[0], ends[1], slots, slot, f"{birth.process}-{number}")
    code: int = birth.be(make_runner, seat, birth.traits)
    return code
