"""Sends from greenlets: ``greenlets.py gevent|eventlet BROKER BACKEND``; says how it went."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

kind, broker, backend = sys.argv[1:]
spawn: Callable[..., Any]
if kind == "gevent":
    import gevent.monkey

    gevent.monkey.patch_all()
    spawn, sleep = gevent.spawn, gevent.sleep
else:
    import eventlet

    eventlet.monkey_patch()
    spawn, sleep = eventlet.spawn, eventlet.sleep

# After the patches, as programs have it.
import json  # noqa: E402

from umbel import Umbel  # noqa: E402

app = Umbel("greenlets", broker=broker, backend=backend)
sent: list[str] = []
ticks: list[None] = []
failure = ""


def tick() -> None:
    """Another greenlet, which has nothing to do with tasks."""
    while True:
        ticks.append(None)
        sleep(0.01)


def send(first: int) -> None:
    for number in range(first, first + 10):
        sent.append(app.send_task("noop", (number,)).id)


spawn(tick)
senders = [spawn(send, 10 * k) for k in range(20)]
while len(sent) < 200:
    sleep(0.01)
before = len(ticks)
try:
    app.AsyncResult(sent[0]).get(timeout=1)
except Exception as error:
    failure = type(error).__name__
print(json.dumps({"sent": len(set(sent)), "failure": failure, "ticks": len(ticks) - before}))
app.close()
