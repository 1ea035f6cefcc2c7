"""Some of the tasks, for Celery's own workers."""

from __future__ import annotations

import os
import time

from celery import Celery
from notes import note

app = Celery("faults", broker=os.environ["UMBEL_BROKER_URL"], set_as_current=False)
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task(name="tasks.late", acks_late=True, reject_on_worker_lost=True)
def late(number: int, seconds: float = 0.0) -> int:
    """At least once."""
    note("start", number)
    time.sleep(seconds)
    note("end", number)
    return number
