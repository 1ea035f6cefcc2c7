"""One producer process: ``python -m benchmarks.produce <system> <what> <count>``.

``one``: that many calls, one by one. ``many``: the same in the system's way of sending many at
once, or one by one where it has none. ``work``: as ``many``, of tasks that take a millisecond.
``paced``: one call every 10 ms, and how long after it the task's function was entered.
``sequential``: call, wait for the result, call again. Prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

PACE = 0.01
"""Seconds between two calls of ``paced``."""


class Producer:
    """A system whose calls are synchronous."""

    def __init__(self, send: Callable[..., Any], get: Callable[[Any], Any]) -> None:
        self.send = send
        self.get = get

    def one(self, add: Any, count: int) -> None:
        """Call one by one."""
        for n in range(count):
            self.send(add, n, n)

    def many(self, add: Any, count: int) -> None:
        """Call many at once, where there is a way."""
        self.one(add, count)

    def paced(self, started: Any, count: int) -> list[float]:
        """Seconds from each call to its function, at a steady light load."""
        sent = []
        begin = time.monotonic()
        for n in range(count):
            time.sleep(max(0.0, begin + n * PACE - time.monotonic()))
            sent.append((time.monotonic(), self.send(started)))
        return [self.get(result) - at for at, result in sent]

    def sequential(self, add: Any, count: int) -> list[float]:
        """Seconds from each call to its result in hand."""
        times = []
        for n in range(count):
            begin = time.monotonic()
            assert self.get(self.send(add, n, 1)) == n + 1
            times.append(time.monotonic() - begin)
        return times


class UmbelProducer(Producer):
    """umbel, which can send many at once."""

    def many(self, add: Any, count: int) -> None:
        """Send in slices, so that memory stays flat."""
        for begin in range(0, count, 10_000):
            add.apply_many([(n, n) for n in range(begin, min(begin + 10_000, count))])


def taskiq_producer(broker: Any) -> Producer:
    """Taskiq is asynchronous throughout: one loop, awaited call by call."""
    loop = asyncio.new_event_loop()
    run: Callable[[Awaitable[Any]], Any] = loop.run_until_complete
    run(broker.startup())

    async def value(sent: Any) -> Any:
        result = await sent.wait_result(check_interval=0.001, timeout=30)
        return result.return_value

    class TaskiqProducer(Producer):
        def one(self, add: Any, count: int) -> None:
            async def calls() -> None:
                for n in range(count):
                    await add.kiq(n, n)

            run(calls())

    return TaskiqProducer(lambda task, *args: run(task.kiq(*args)), lambda sent: run(value(sent)))


def producer(system: str, module: Any) -> Producer:
    """The system's own way of calling and of waiting."""
    match system:
        case "celery":
            return Producer(lambda task, *args: task.delay(*args), lambda result: result.get(30))
        case "umbel":
            return UmbelProducer(
                lambda task, *args: task.delay(*args), lambda result: result.get(30)
            )
        case "dramatiq":
            return Producer(
                lambda task, *args: task.send(*args),
                lambda message: message.get_result(block=True, timeout=30_000),
            )
        case "huey":
            return Producer(
                lambda task, *args: task(*args),
                lambda result: result.get(blocking=True, timeout=30, backoff=1.0, max_delay=0.001),
            )
        case "taskiq":
            return taskiq_producer(module.broker)
        case _:
            raise SystemExit(f"unknown system {system!r}")


def main(system: str, what: str, count: int) -> dict[str, float]:
    """Warm up, measure, say."""
    module = import_module(f"benchmarks.apps.{system}_app")
    calls = producer(system, module)
    if what in {"one", "many", "work"}:
        warm_up = 20
        calls.one(module.add, warm_up)
        begin, used = time.monotonic(), time.process_time()
        if what == "work":
            calls.many(module.work, count - warm_up)
        else:
            getattr(calls, what)(module.add, count - warm_up)
        seconds, cpu = time.monotonic() - begin, time.process_time() - used
        return {"rate": (count - warm_up) / seconds, "cpu_us": cpu / (count - warm_up) * 1e6}
    calls.sequential(module.add, 20)
    task = module.started if what == "paced" else module.add
    times = sorted(getattr(calls, what)(task, count))
    return {
        "p50_ms": statistics.median(times) * 1e3,
        "p99_ms": times[int(len(times) * 0.99)] * 1e3,
    }


if __name__ == "__main__":
    answer = main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    # Some clients keep threads that outlive main; what they do then is not measured.
    print(json.dumps(answer), flush=True)
