"""umbel's side of every test."""

from __future__ import annotations

import os

import work

from umbel import Broadcast, Queue, Umbel

app = Umbel("interop", **work.addresses())
work.prepare(app)
if broadcast := os.environ.get("INTEROP_BROADCAST"):
    app.conf.task_queues = [Queue(name) for name in work.queues()] + [Broadcast(broadcast)]
