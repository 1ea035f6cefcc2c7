"""What the workers of the fault suite run. Every task notes what it does in the ledger."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from datetime import datetime
from typing import Any

from clocks import ClockSetByHand
from notes import note

from umbel import Umbel

app = Umbel("faults", clock=ClockSetByHand() if "CLOCK" in os.environ else None)
app.conf.update(
    worker_lease=float(os.environ.get("LEASE", "20")),
    # Longer than any clock is set forward.
    result_expires=4 * 3600,
    task_default_queue_type=os.environ.get("QUEUE_TYPE", "classic"),
    worker_enable_remote_control="DEAF" not in os.environ,
    beat_schedule_store=os.environ.get("SCHEDULE"),
    beat_schedule={"tick": {"task": "tasks.tick", "schedule": 1, "missed": "all"}},
)
ATTEMPTS = 16
"""More than any task tries."""


@app.task(acks_late=True, reject_on_worker_lost=True)
def late(number: int, seconds: float = 0.0) -> int:
    """At least once."""
    note("start", number)
    time.sleep(seconds)
    note("end", number)
    return number


@app.task
def early(number: int, seconds: float = 0.0) -> int:
    """At most once."""
    note("start", number, "once")
    time.sleep(seconds)
    note("end", number)
    return number


@app.task(acks_late=True, reject_on_worker_lost=True)
def who(number: int, seconds: float = 0.0) -> int:
    """At least once; says which process has run it."""
    note("start", number)
    note("pid", os.getpid())
    time.sleep(seconds)
    note("end", number)
    return os.getpid()


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True, max_retries=None)
def tries(self: Any, number: int, times: int) -> int:
    """Tries again so many times; only the last one counts."""
    # Shorter ones are acknowledged in batches, and run again in batches.
    attempt = number * ATTEMPTS + self.request.retries
    note("try", attempt)
    time.sleep(0.002)
    note("tried", attempt)
    if self.request.retries < times:
        raise self.retry(countdown=0)
    note("start", number)
    note("end", number)
    return number


@app.task(acks_late=True, reject_on_worker_lost=True)
def gather(values: list[int], number: int) -> int:
    """The body of a chord."""
    note("start", number)
    note("end", number)
    return len(values)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def tick(self: Any) -> int:
    """Sent by a scheduler; its number is the second it is for."""
    due = datetime.fromisoformat(self.request.headers["umbel_scheduled_for"])
    number = round(due.timestamp())
    note("start", number)
    note("end", number)
    return number


@app.task(acks_late=True, reject_on_worker_lost=True)
def sorry(task_id: str, number: int) -> None:
    """An error callback."""
    note("sorry", number)


@app.task(acks_late=True, reject_on_worker_lost=True, rate_limit="20/s")
def limited(number: int) -> int:
    """At least once, and not too often."""
    note("start", number)
    note("end", number)
    return number


@app.task(acks_late=True, reject_on_worker_lost=True)
def hogs(number: int, seconds: int) -> int:
    """At least once; nothing else in its process runs meanwhile, not even another thread."""
    note("start", number)
    # Unlike CDLL, it keeps the interpreter's lock.
    ctypes.PyDLL(None).sleep(seconds)
    note("end", number)
    return number


@app.task(acks_late=True, reject_on_worker_lost=True)
def exits(number: int) -> None:
    """Poison: leaves without a word."""
    note("start", number, "deadly")
    os._exit(3)


@app.task(acks_late=True, reject_on_worker_lost=True)
def segfaults(number: int) -> None:
    """Poison: reads where nothing is."""
    note("start", number, "deadly")
    ctypes.string_at(0)


@app.task(acks_late=True, reject_on_worker_lost=True)
def kills_itself(number: int) -> None:
    """Poison: what the kernel does to whom it chooses when memory is short."""
    note("start", number, "deadly")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(acks_late=True, reject_on_worker_lost=True)
def eats_memory(number: int) -> None:
    """Poison: asks for more memory than there is, and does not look whether it got it."""
    note("start", number, "deadly")
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    ctypes.memset(libc.malloc(ctypes.c_size_t(2**33)), 1, 2**33)


@app.task(acks_late=True, reject_on_worker_lost=True)
def overflows(number: int) -> None:
    """Poison: recursion through C, beyond the stack."""
    note("start", number, "deadly")
    sys.setrecursionlimit(10**9)

    def deeper(_: int) -> list[object]:
        return [*map(deeper, (1,))]

    deeper(0)


@app.task(acks_late=True, reject_on_worker_lost=True)
def kills_its_worker(number: int) -> None:
    """Poison: takes the parent and all of its children along."""
    note("start", number, "deadly")
    os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)
