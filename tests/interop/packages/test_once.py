"""celery-once and celery-singleton work under the alias."""

from __future__ import annotations

import pytest

from tests.bare import Project

pytestmark = pytest.mark.slow

ONCE = """
import os

from celery import Celery
from celery_once import AlreadyQueued, QueueOnce
from celery_singleton import Singleton

app = Celery("tasks")
app.conf.ONCE = {
    "backend": "celery_once.backends.File",
    "settings": {"location": "locks", "default_timeout": 60},
}
app.conf.singleton_backend_url = os.environ["CELERY_BROKER_URL"]


@app.task(base=QueueOnce)
def once(x):
    return 2 * x


@app.task(base=Singleton, unique_on="x")
def single(x, y=0):
    return x + y
"""


def test_celery_once_and_celery_singleton_keep_tasks_from_being_queued_twice(
    project: Project,
) -> None:
    (project.folder / "tasks.py").write_text(ONCE)
    queued = project.client("""
from tasks import AlreadyQueued, once, single
first = once.delay(4)
try:
    once.delay(4)
except AlreadyQueued as error:
    assert 0 < error.countdown <= 60
else:
    raise AssertionError("queued twice")
assert once.delay(5).id != first.id
only = single.delay(1, y=2)
assert single.delay(1, y=3).id == only.id
print(first.id, only.id)
""").split()

    with project.worker("-A", "tasks", "worker", "-l", "INFO"):
        project.client(f"""
from tasks import app, once, single
assert app.AsyncResult("{queued[0]}").get(timeout=60) == 8
assert app.AsyncResult("{queued[1]}").get(timeout=60) == 3
assert once.delay(4).get(timeout=60) == 8
again = single.delay(1, y=4)
assert again.id != "{queued[1]}" and again.get(timeout=60) == 5
""")
