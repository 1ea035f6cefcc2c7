"""django-celery-beat works under the alias."""

from __future__ import annotations

import pytest

from tests.bare import Project

pytestmark = pytest.mark.slow

DJANGO = """
import os

import django
from celery import Celery
from django.conf import settings

settings.configure(
    SECRET_KEY="of a test",
    INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_beat"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "database"}},
    USE_TZ=True,
    CELERY_BEAT_SCHEDULER="django_celery_beat.schedulers:DatabaseScheduler",
    CELERY_BEAT_SCHEDULE={"often": {"task": "tasks.tick", "schedule": 1.0, "args": ["settings"]}},
    CELERY_BEAT_MAX_LOOP_INTERVAL=1,
)
django.setup()

app = Celery("tasks")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def tick(origin):
    print("tick from", origin)
"""


def test_django_celery_beat_sends_what_is_in_the_database(project: Project) -> None:
    (project.folder / "tasks.py").write_text(DJANGO)
    project.client("""
import tasks
from django.core.management import call_command
from django_celery_beat.models import IntervalSchedule, PeriodicTask
call_command("migrate", verbosity=0)
second = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
PeriodicTask.objects.create(
    interval=second, name="later", task="tasks.tick", args='["database"]'
)
""")

    with project.worker("-A", "tasks", "worker", "-B", "-l", "INFO"):
        project.wait_for("tick from settings")
        project.wait_for("tick from database")
    counted = project.client("""
import tasks
from django_celery_beat.models import PeriodicTask
print(PeriodicTask.objects.get(name="later").total_run_count)
""")
    assert int(counted) >= 1
