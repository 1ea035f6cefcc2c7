"""celery-redbeat works under the alias."""

from __future__ import annotations

import pytest

from tests.bare import Project

pytestmark = pytest.mark.slow

REDBEAT = """
from celery import Celery

app = Celery("tasks")
app.conf.update(
    redbeat_lock_timeout=5,
    beat_scheduler="redbeat.RedBeatScheduler",
    beat_max_loop_interval=1,
    beat_schedule={"often": {"task": "tasks.tick", "schedule": 1.0, "args": ("settings",)}},
)


@app.task
def tick(origin):
    print("tick from", origin)
"""


def test_redbeat_sends_what_the_settings_say_and_what_is_added_meanwhile(project: Project) -> None:
    (project.folder / "tasks.py").write_text(REDBEAT)

    with project.worker("-A", "tasks", "worker", "-B", "-l", "INFO"):
        project.wait_for("tick from settings")
        project.client("""
from celery.schedules import schedule
from redbeat import RedBeatSchedulerEntry
from tasks import app
RedBeatSchedulerEntry("later", "tasks.tick", schedule(1), args=["redis"], app=app).save()
""")
        project.wait_for("tick from redis")
