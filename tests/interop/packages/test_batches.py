"""celery-batches works under the alias."""

from __future__ import annotations

import pytest

from tests.bare import Project

pytestmark = pytest.mark.slow

BATCHES = """
import os

from celery import Celery
from celery_batches import Batches

app = Celery("tasks")
app.conf.worker_prefetch_multiplier = 0


@app.task(base=Batches, flush_every=5, flush_interval=1, acks_late=True)
def total(requests):
    numbers = [request.args[0] for request in requests]
    print("batch of", len(numbers), "in another process:", os.getpid() != os.getppid())
    for request in requests:
        app.backend.mark_as_done(request.id, sum(numbers), request=request)


@app.task
def add(x, y):
    return x + y
"""


def test_celery_batches_runs_calls_together(project: Project) -> None:
    (project.folder / "tasks.py").write_text(BATCHES)

    with project.worker("-A", "tasks", "worker", "-l", "INFO", "-c", "2"):
        project.client("""
from tasks import add, total
sent = [total.delay(n) for n in range(5)]
assert [each.get(timeout=60) for each in sent] == [10] * 5
sent = [total.delay(n) for n in range(2)]
assert add.delay(1, 2).get(timeout=60) == 3
assert [each.get(timeout=60) for each in sent] == [1] * 2
""")
    log = project.log.read_text()
    assert "batch of 5 in another process: True" in log
    assert "batch of 2 in another process: True" in log
    assert project.client("""
from tasks import app
async def count():
    stats = await (await app.connections.broker()).stats(["celery"])
    print(stats["celery"].ready + stats["celery"].leased)
app.portal.call(count)
""").split() == ["0"]
