"""Our own Python calls per task, and how deep the user's function lies in the stack.

Counts every call of a function defined in the package, on every thread, and says between which
of three moments it happened: the call of ``delay``, the entry of the user's function, the end of
the settlement. Wall time on a shared machine is noise; this is a number that two runs agree on.

The budgets are for a worker that has something to do: 500 tasks wait, and what they cost together
is divided. A task that comes alone pays for a whole turn of every loop, which is shown too. Broker
and result backend are in memory, the pool is ``solo``, so that everything is in this process.
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
ANSWER = "drivers/memory/broker.py:MemoryBroker.receive"
"""Where the worker's part begins: not with the waiting for a message, which is nobody's task."""
AFTER = (
    "execution/execute.py:_returned",
    *("execution/hooks.py", "execution/context.py:leave", "wire/results.py", "wire/moments.py"),
    *("serialization/json.py:dumps", "serialization/json.py:is_plain"),
    *("pools/outbox.py", "pools/pace.py", "pools/inline.py:InlinePool._release"),
    *(
        "pools/inline.py:InlinePool.outcomes",
        "worker/settling/finish.py",
        "worker/settling/settle.py",
    ),
    *(
        "worker/settling/conclusion.py",
        "worker/settling/verdict.py",
        "worker/settling/batches.py",
        "worker/state.py",
    ),
    *(
        "worker/settling/leases.py:Leases.release",
        "drivers/memory/results.py",
        "drivers/memory/backend.py",
    ),
    *(
        "drivers/memory/broker.py:MemoryBroker.settle",
        "drivers/memory/broker.py:MemoryBroker._forget",
    ),
    *("drivers/memory/line.py:Line.remove", "drivers/memory/broker.py:MemoryBroker.ack"),
)
"""What belongs to the second half of the walk; with many tasks under way the halves overlap."""
BATCH = 500
BUDGETS = {"publish": 60, "receive to function": 60, "function to settled": 60, "own frames": 12}
ALONE = 120
"""Calls that a task may cost on either side of its function when it comes alone."""


class Counting:
    """Counts calls of our functions, by function, while it is switched on."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.on = False
        self.answered = True
        """Whether the broker has answered; until then, what was counted is forgotten."""

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """What the interpreter calls for every call and return."""
        if not self.on or not frame.f_code.co_filename.startswith(PACKAGE):
            return
        if event == "call":
            self.calls[name_of(frame)] += 1
        elif not self.answered and isinstance(argument, list) and name_of(frame) == ANSWER:
            # What a coroutine "returns" whenever it waits is no list.
            self.answered = True
            self.calls.clear()

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
    before_batch: Counter[str]
    """As ``before``, for ``BATCH`` tasks that were waiting."""
    after_batch: Counter[str]
    frames: list[str]

    def figures(self) -> dict[str, float]:
        """What the budgets are for, and the same for a task alone."""
        return {
            "publish": self.publish_one.total(),
            "receive to function": self.before_batch.total() / BATCH,
            "function to settled": self.after_batch.total() / BATCH,
            "own frames": len(self.frames),
            "alone: receive to function": self.before.total(),
            "alone: function to settled": self.after.total(),
            "at once: publish": self.publish_batch.total() / BATCH,
        }


def after_function(counted: Counter[str]) -> Counter[str]:
    """The calls that only happen once a function has returned."""
    return Counter({name: calls for name, calls in counted.items() if name.startswith(AFTER)})


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
        async with Worker(app, pool="solo", quiet=True) as worker:
            done = 0

            async def settle(count: int) -> Counter[str]:
                nonlocal done
                done += count
                counting.take()
                counting.answered = False
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
        # It has a loop of its own to end, and a thread has room for one.
        await asyncio.to_thread(app.close)
    later = after_function(batch)
    return Counted(one, many, before[0], after, batch - later, later, frames[0])


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
    figures = counted.figures()
    rows = [[name, f"{figure:.1f}", str(BUDGETS.get(name, ""))] for name, figure in figures.items()]
    details = [
        show("publish", counted.publish_one, 1),
        show("receive to function", counted.before_batch, BATCH),
        show("function to settled", counted.after_batch, BATCH),
        show("alone: receive to function", counted.before, 1),
        show("alone: function to settled", counted.after, 1),
        show("at once: publish", counted.publish_batch, BATCH),
        "\nframes above the user's function:\n\n  " + "\n  ".join(counted.frames),
    ]
    text = table(["own Python calls per task", "counted", "budget"], rows)
    publish("calls", figures, f"{text}\n\n```text{''.join(details)}\n```")
    return any(figures[name] > budget for name, budget in BUDGETS.items())


if __name__ == "__main__":
    sys.exit(main())
