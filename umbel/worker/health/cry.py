"""What a worker is doing this very moment: the stacks of its threads and coroutines."""

from __future__ import annotations

import asyncio
import io
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from types import FrameType

__all__ = ["cry", "listen"]

logger = logging.getLogger(__name__)

_RULE = "=" * 49


def listen(loop: asyncio.AbstractEventLoop, running: Callable[[], Iterable[str]]) -> None:
    """Write it to the log whenever the process gets ``SIGUSR1``.

    Not through the loop: what is most wanted to be seen is what blocks it.

    Args:
        running: Gives one line for each task that runs.

    Source:
        Celery user guide, Workers, "Process Signals".
    """
    number = getattr(signal, "SIGUSR1", None)
    if number is None:
        return

    def act(_number: int, _frame: FrameType | None) -> None:
        # WARNING, as what people ask for must not depend on the level that they log at.
        logger.warning("%s", cry(loop, running()))

    signal.signal(number, act)


def cry(loop: asyncio.AbstractEventLoop | None = None, running: Iterable[str] = ()) -> str:
    """The stacks as text. No values of variables: they may be secrets.

    Args:
        loop: Whose coroutines to show too.
        running: Lines to add for the tasks that run.
    """
    out = io.StringIO()
    thread_by_number = {thread.ident: thread for thread in threading.enumerate()}
    for number, frame in _frames().items():
        thread = thread_by_number.get(number)
        # Without a thread: left over from a fork.
        if thread is not None:
            _show(out, thread.name, traceback.format_stack(frame))
    for task in _tasks_of(loop):
        stack = [line for each in task.get_stack() for line in traceback.format_stack(each, 1)]
        _show(out, f"coroutine {task.get_name()}", stack)
    lines = list(running)
    if lines:
        _show(out, "running tasks", [f"{line}\n" for line in lines])
    return out.getvalue()


def _frames() -> dict[int, FrameType]:
    # The documented way, its name notwithstanding; not every interpreter has it.
    current: Callable[[], dict[int, FrameType]] = getattr(sys, "_current_frames", dict)
    return current()


def _tasks_of(loop: asyncio.AbstractEventLoop | None) -> list[asyncio.Task[object]]:
    if loop is None:
        return []
    try:
        return sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    except RuntimeError:
        # They change while another thread looks at them; the threads are the better half.
        return []


def _show(out: io.StringIO, title: str, lines: Iterable[str]) -> None:
    out.write(f"{title}\n{_RULE}\n")
    out.writelines(lines)
    out.write(f"{_RULE}\n\n")
