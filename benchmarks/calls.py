"""Our own Python calls per task, and how deep the user's function lies in the stack.

Counts every call of a function defined in the package, on every thread, and says between which
of three moments it happened: the call of ``delay``, the entry of the user's function, the end of
the settlement. Wall time on a shared machine is noise; this is a number that two runs agree on.

One task at a time is the worst case, because every boundary works in batches of one; the columns
for a batch say what a busy worker pays. Broker and result backend are in memory, the pool is
``solo``, so that everything happens in this process.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import umbel
from benchmarks.setting import publish, table
from umbel import Umbel
from umbel.worker.worker import Worker

PACKAGE = str(Path(umbel.__file__).parent) + "/"
BATCH = 500
BUDGETS = {"publish": 60, "receive to function": 60, "function to settled": 60, "own frames": 12}


class Counting:
    """Counts calls of our functions, by function, while it is switched on."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.on = False

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """What the interpreter calls for every call and return."""
        if event == "call" and self.on and frame.f_code.co_filename.startswith(PACKAGE):
            self.calls[name_of(frame)] += 1

    def install(self) -> None:
        """Watch this thread, and all that are started from now on."""
        threading.setprofile(self)
        sys.setprofile(self)

    def remove(self) -> None:
        """Watch nothing any more."""
        self.on = False
        threading.setprofile(None)
        sys.setprofile(None)

    def take(self) -> Counter[str]:
        """What was counted since the last time."""
        counted, self.calls = self.calls, Counter()
        return counted


def name_of(frame: FrameType) -> str:
    """``app/task.py:Task.delay``."""
    return f"{frame.f_code.co_filename.removeprefix(PACKAGE)}:{frame.f_code.co_qualname}"


def frames_above() -> list[str]:
    """Our own frames above the caller, nearest first."""
    frame, names = sys._getframe(1).f_back, []  # noqa: SLF001 - the documented way to the stack
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            names.append(name_of(frame))
        frame = frame.f_back
    return names


class Counted(NamedTuple):
    """Calls of our functions, by function."""

    publish_one: Counter[str]
    publish_batch: Counter[str]
    before: Counter[str]
    """From the broker's answer to the user's function, one task alone."""
    after: Counter[str]
    """From the user's function until all is settled, one task alone."""
    batch: Counter[str]
    """From the broker's answer until all is settled, for ``BATCH`` tasks."""
    frames: list[str]


async def count_calls(counting: Counting) -> Counted:
    """Publish and run one task, then many, and count."""
    app = Umbel("calls", broker="memory://", backend="memory://", set_as_current=False)
    before: list[Counter[str]] = []
    frames: list[list[str]] = []

    @app.task(name="noop")
    def noop(x: int, y: int) -> int:
        if counting.on and not before:
            before.append(counting.take())
            frames.append(frames_above())
        return x + y

    counting.install()
    try:
        async with Worker(app, pool="solo") as worker:
            done = 0

            async def settle(count: int) -> Counter[str]:
                nonlocal done
                done += count
                counting.take()
                counting.on = True
                await worker.settled(done)
                counting.on = False
                return counting.take()

            # Blocks this loop, so the worker cannot begin before the counting does.
            one = counted_publish(counting, lambda: [noop.delay(1, 2)])
            await settle(1)
            one = counted_publish(counting, lambda: [noop.delay(1, 2)])
            before.clear()
            frames.clear()
            after = await settle(1)
            many = counted_publish(
                counting, lambda: noop.apply_many([(n, n) for n in range(BATCH)])
            )
            batch = await settle(BATCH)
    finally:
        counting.remove()
        app.close()
    return Counted(one, many, before[0], after, batch, frames[0])


def counted_publish(counting: Counting, send: Any) -> Counter[str]:
    """The calls that publishing takes, on whatever thread."""
    counting.take()
    counting.on = True
    send()
    counting.on = False
    return counting.take()


def show(title: str, counted: Counter[str], count: int) -> str:
    """The functions that are called most."""
    lines = [f"\n{title}: {counted.total() / count:.1f} calls per task\n"]
    lines += [f"  {calls / count:6.2f}  {name}" for name, calls in counted.most_common(25)]
    return "\n".join(lines)


def main() -> int:
    """Count, show, compare with the budgets."""
    counted = asyncio.run(count_calls(Counting()))
    figures = {
        "publish": counted.publish_one.total(),
        "receive to function": counted.before.total(),
        "function to settled": counted.after.total(),
        "own frames": len(counted.frames),
    }
    rows = [[name, str(figure), str(BUDGETS[name])] for name, figure in figures.items()]
    rows.append([f"publish, {BATCH} at once", f"{counted.publish_batch.total() / BATCH:.1f}", ""])
    rows.append(
        [f"receive to settled, {BATCH} at once", f"{counted.batch.total() / BATCH:.1f}", ""]
    )
    details = [
        show("publish", counted.publish_one, 1),
        show("receive to function", counted.before, 1),
        show("function to settled", counted.after, 1),
        show(f"publish, {BATCH} at once", counted.publish_batch, BATCH),
        show(f"receive to settled, {BATCH} at once", counted.batch, BATCH),
        "\nframes above the user's function:\n\n  " + "\n  ".join(counted.frames),
    ]
    text = table(["own Python calls per task", "counted", "budget"], rows)
    publish("calls", figures, f"{text}\n\n```text{''.join(details)}\n```")
    return any(figures[name] > budget for name, budget in BUDGETS.items())


if __name__ == "__main__":
    sys.exit(main())
