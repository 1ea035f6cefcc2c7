"""How much memory the process has, and what its threads do.

Source:
    Celery reference, ``celery.utils.debug``: names, forms of what is printed.
"""

from __future__ import annotations

import gc
import inspect
import io
import os
import pprint
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from umbel.compat.moved import try_import

__all__ = [
    "blockdetection",
    "cry",
    "hfloat",
    "humanbytes",
    "mem_rss",
    "memdump",
    "ps",
    "sample",
    "sample_mem",
]

T = TypeVar("T")

_UNITS = ((2.0**40, "TB"), (2.0**30, "GB"), (2.0**20, "MB"), (2.0**10, "KB"), (1.0, "b"))

_samples: list[str | None] = []


@contextmanager
def blockdetection(timeout: float | None) -> Generator[None]:
    """Raise in what takes longer than ``timeout`` seconds; 0 or None: any time will do.

    Uses the alarm signal: for the main thread, where there are signals.

    Raises:
        RuntimeError: It has taken longer; says where it was.
    """
    if not timeout:
        yield
        return
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _too_long(_signum: int, frame: FrameType | None) -> None:
    where = inspect.getframeinfo(frame) if frame is not None else "an unknown place"
    raise RuntimeError(f"Blocking detection timed-out at: {where}")


def sample_mem() -> str | None:
    """Note how much memory the process has, for :func:`memdump`; returns it."""
    now = mem_rss()
    _samples.append(now)
    return now


def memdump(samples: int = 10, file: Any = None) -> None:
    """Print some of the amounts that were noted, forget them, and print how much it is now."""
    if ps() is None:
        print("- rss: (psutil not installed).", file=file)
        return
    chosen = list(_samples if len(_samples) <= samples else sample(_samples, samples))
    _samples.clear()
    gc.collect()
    lines = ["- rss (sample):", *(f"-    > {amount}," for amount in chosen)] if chosen else []
    print(*lines, f"- rss (end): {mem_rss()}.", sep="\n", file=file)


def sample(x: Sequence[T], n: int, k: int = 0) -> Iterator[T]:
    """``n`` items at equal distances, from the one at ``k`` on.

    >>> list(sample("abcdefgh", 4))
    ['a', 'c', 'e', 'g']
    """
    step = len(x) // n
    places = (k + index * step for index in range(n))
    return (x[place] for place in places if place < len(x))


def hfloat(f: float, p: int = 5) -> int | str:
    """A number with ``p`` digits, without a fraction if it has none.

    >>> hfloat(2.0), hfloat(2.3456789)
    (2, '2.3457')
    """
    whole = int(f)
    return whole if whole == f else f"{f:.{p}}"


def humanbytes(s: float) -> str:
    """An amount of memory in its largest unit.

    >>> humanbytes(2048), humanbytes(10)
    ('2KB', '10b')
    """
    size, unit = next((pair for pair in _UNITS if s >= pair[0]), _UNITS[-1])
    return f"{hfloat(s / size)}{unit}"


def mem_rss() -> str | None:
    """How much memory the process has; None: psutil is not installed."""
    process = ps()
    return None if process is None else humanbytes(process.memory_info().rss)


def ps() -> Any:
    """The process, as psutil has it; None: it is not installed."""
    psutil = try_import("psutil")
    return None if psutil is None else psutil.Process(os.getpid())


def cry(out: Any = None, sepchr: str = "=", seplen: int = 49) -> str:
    """The stack of every thread, with its local variables, as text.

    Args:
        out: A text file in memory, which it is written to.
    """
    out = io.StringIO() if out is None else out
    thread_by_id = {thread.ident: thread for thread in threading.enumerate()}
    rule = f"{sepchr * seplen}\n"
    for ident, frame in sys._current_frames().items():  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if ident not in thread_by_id:
            # Of another process, before a fork.
            continue
        out.write(f"{thread_by_id[ident].name}\n{rule}")
        traceback.print_stack(frame, file=out)
        out.write(f"{rule}LOCAL VARIABLES\n{rule}")
        pprint.pprint(frame.f_locals, stream=out)
        out.write("\n\n")
    text: str = out.getvalue()
    return text
