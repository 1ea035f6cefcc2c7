"""celery-progress works under the alias."""

from __future__ import annotations

import json

import pytest

from tests.bare import Project

pytestmark = pytest.mark.slow

PROGRESS = """
import time

from celery import Celery
from celery_progress.backend import ProgressRecorder

app = Celery("tasks")


@app.task(bind=True)
def count(self, until):
    for number in range(1, until + 1):
        ProgressRecorder(self).set_progress(number, until, "counting")
        time.sleep(0.5)
    return "done"
"""


def test_celery_progress_tells_how_far_a_task_is(project: Project) -> None:
    (project.folder / "tasks.py").write_text(PROGRESS)

    with project.worker("-A", "tasks", "worker", "-l", "INFO"):
        seen = project.client("""
import json, time
from celery.result import AsyncResult
from celery_progress.backend import Progress
from tasks import count
called = count.delay(3)
deadline = time.monotonic() + 60
while (info := Progress(AsyncResult(called.id)).get_info())["state"] != "PROGRESS":
    assert time.monotonic() < deadline, info
    time.sleep(0.05)
called.get(timeout=60)
print(json.dumps([info, Progress(AsyncResult(called.id)).get_info()]))
""")
    during, after = json.loads(seen)

    assert during["progress"]["total"] == 3
    assert during["progress"]["description"] == "counting"
    assert (after["complete"], after["success"], after["result"]) == (True, True, "done")
