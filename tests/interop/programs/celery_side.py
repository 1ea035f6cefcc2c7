"""Real Celery's side of every test."""

from __future__ import annotations

import os

import work
from celery import Celery
from kombu import Queue
from kombu.common import Broadcast

app = Celery("interop", **work.addresses())
work.prepare(app)
if broadcast := os.environ.get("INTEROP_BROADCAST"):
    app.conf.task_queues = [Queue(name) for name in work.queues()] + [Broadcast(broadcast)]
