"""What events of tasks cost: throughput with events on and heard, over throughput with them off.

No-op tasks on one Redis, as in ``throughput``; then tasks that work for a millisecond. Somebody
listens to everything that is said and throws it away, so that the cost is the worker's and the
server's alone; what was heard is counted, so that no events are no success. Systems, and events
on and off, take turns, round by round; each round gives one ratio. Below the table: what either
loses of its throughput, beside each other.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import redis

from benchmarks.setting import private_redis, produce, publish, table, url_of, worker
from benchmarks.throughput import clock_drain, stored

COUNT_BY_SYSTEM = {"celery": 3000, "umbel": 100_000}
"""No-op tasks."""
COUNT_OF_WORK = 4000
"""Tasks of a millisecond."""
EVENTS_PER_TASK = 3
"""received, started, succeeded."""

Run = tuple[float, float]
"""Tasks per second; microseconds of processor time of the worker's processes per task."""


class Ear:
    """Counts the bytes of all events that are said; understands nothing."""

    def __init__(self, port: int) -> None:
        self.bytes = 0
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(b"PSUBSCRIBE /0.celeryev/*\r\n")
        self._socket.recv(1024)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        # Into the same memory: it shares the processors with what is measured.
        buffer = bytearray(1 << 18)
        while count := self._socket.recv_into(buffer):
            self.bytes += count

    def close(self) -> None:
        """Stop listening."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


@contextmanager
def heard(port: int) -> Iterator[Ear]:
    """Somebody who listens."""
    ear = Ear(port)
    try:
        yield ear
    finally:
        ear.close()


def processor_time(parent: psutil.Process) -> float:
    """Seconds that the worker's processes have used."""
    processes = [parent, *parent.children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def run(system: str, client: redis.Redis, what: str, count: int, *, on: bool) -> Run:
    """Fill the queue, start a worker, clock the drain."""
    client.flushall()
    url = url_of(client)
    produce(system, url, what, count)
    count_results = stored(client, system)
    port = client.connection_pool.connection_kwargs["port"]
    extra = ("-E",) if on else ()
    with heard(port) as ear, worker(system, url, *extra) as parent:
        rate = clock_drain(count_results, count)
        used = processor_time(parent)
    # A task's three events take more than 400 bytes, whoever writes them.
    if on and ear.bytes < count * EVENTS_PER_TASK * 140:
        raise SystemExit(f"{system}: only {ear.bytes:,} bytes of events of {count:,} tasks")
    if not on and ear.bytes > count * 100:
        raise SystemExit(f"{system}: {ear.bytes:,} bytes of events, though they are off")
    return rate, used / count * 1e6


def report(figures: dict[str, dict[str, list[Run]]]) -> str:
    """Medians, and the ratio of each pair."""
    rows = []
    for what, measured in figures.items():
        off, on = measured["off"], measured["on"]
        ratios = [with_[0] / without[0] for with_, without in zip(on, off, strict=True)]
        extra = [with_[1] - without[1] for with_, without in zip(on, off, strict=True)]
        rows.append(
            [
                what,
                f"{statistics.median(rate for rate, _ in off):,.0f}",
                f"{statistics.median(rate for rate, _ in on):,.0f}",
                f"{statistics.median(ratios):.3f} [{min(ratios):.3f}..{max(ratios):.3f}]",
                f"{statistics.median(used for _, used in off):.1f}",
                f"{statistics.median(extra):+.1f} [{min(extra):+.1f}..{max(extra):+.1f}]",
            ]
        )
    headings = [
        "tasks/s",
        "events off",
        "on and heard",
        "on / off",
        "CPU µs/task off",
        "with events",
    ]
    return "\n\n".join([table(headings, rows), *compared(figures)])


def loss(measured: dict[str, list[Run]]) -> float:
    """Per cent of the throughput that events cost."""
    pairs = zip(measured["on"], measured["off"], strict=True)
    return 100 * (1 - statistics.median(on[0] / off[0] for on, off in pairs))


def compared(figures: dict[str, dict[str, list[Run]]]) -> list[str]:
    """What umbel loses, beside what Celery does, as far as both were measured."""
    lines = []
    for kind in ("no-op", "1 ms"):
        ours, theirs = figures.get(f"umbel, {kind}"), figures.get(f"celery, {kind}")
        if ours is None or theirs is None:
            continue
        own, other = loss(ours), loss(theirs)
        # A loss within the noise is no divisor.
        times = f", {own / other:.2f} times that" if other > 1 else ""
        lines.append(
            f"{kind}: events cost Celery {other:.1f} % of its throughput, umbel {own:.1f} %{times}."
        )
    return lines


def main() -> None:
    """Measure the systems asked for, round by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", nargs="*", default=[*COUNT_BY_SYSTEM])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-op-only", action="store_true", help="leave out tasks of 1 ms")
    options = parser.parse_args()
    figures: dict[str, dict[str, list[Run]]] = {}
    plan = [
        (system, what, count)
        for system in options.systems
        for what, count in (("many", COUNT_BY_SYSTEM[system]), ("work", COUNT_OF_WORK))
        if what == "many" or not options.no_op_only
    ]
    names = {"many": "no-op", "work": "1 ms"}
    with private_redis() as client:
        for _ in range(options.rounds):
            for system, what, count in plan:
                measured = figures.setdefault(f"{system}, {names[what]}", {"off": [], "on": []})
                for on in (False, True):
                    figure = run(system, client, what, count, on=on)
                    measured["on" if on else "off"].append(figure)
    publish("events", figures, report(figures))


if __name__ == "__main__":
    main()
