"""django-celery-results works under the alias."""

from __future__ import annotations

import json

import pytest

from tests.bare import Project

pytestmark = pytest.mark.slow

RESULTS = """
import django
from celery import Celery
from django.conf import settings

settings.configure(
    SECRET_KEY="of a test",
    INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_results"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "database"}},
    CACHES={
        "default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
                    "LOCATION": "cache"},
    },
    USE_TZ=True,
    CELERY_RESULT_BACKEND="BACKEND_NAME",
    CELERY_CACHE_BACKEND="default",
    CELERY_RESULT_EXTENDED=True,
)
django.setup()

app = Celery("tasks")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail():
    raise LookupError("not here")


@app.task(bind=True)
def report(self):
    self.update_state(state="PROGRESS", meta={"done": 3})
    return app.AsyncResult(self.request.id).state
"""


RESULTS_ARE_KEPT = """
from celery import chain, chord, group
from tasks import add, app, fail, report, total
sent = add.apply_async((1, 2), headers={"periodic_task_name": "often"})
assert sent.get(timeout=60) == 3
failed = fail.delay()
assert isinstance(failed.get(timeout=60, propagate=False), LookupError)
assert "not here" in failed.traceback
assert report.delay().get(timeout=60) == "PROGRESS"
members = group(add.s(n, n) for n in range(3)).apply_async()
members.save()
assert members.get(timeout=60) == [0, 2, 4]
assert app.GroupResult.restore(members.id).get(timeout=60) == [0, 2, 4]
assert chord([add.s(n, n) for n in range(4)], total.s()).apply_async().get(timeout=60) == 12
end = chain(add.s(1, 1), add.s(2)).apply_async()
assert (end.get(timeout=60), end.parent.get(timeout=60)) == (4, 2)
assert app.backend.get_state(sent.id) == "SUCCESS"
"""


def keep_results(project: Project, backend: str) -> None:
    """Have Django keep the results; the environment would win over its settings."""
    (project.folder / "tasks.py").write_text(RESULTS.replace("BACKEND_NAME", backend))
    project.env = {**project.env, "CELERY_RESULT_BACKEND": ""}


def test_django_celery_results_keeps_what_tasks_return_in_the_database(project: Project) -> None:
    keep_results(project, "django-db")
    project.client("""
import tasks
from django.core.management import call_command
call_command("migrate", verbosity=0)
""")

    with project.worker("-A", "tasks", "worker", "-l", "INFO"):
        project.client(RESULTS_ARE_KEPT)
    rows = json.loads(
        project.client("""
import json
import tasks
from django_celery_results.models import TaskResult
names = ("task_name", "status", "task_args", "periodic_task_name", "result")
print(json.dumps(list(TaskResult.objects.order_by("id").values_list(*names))[:2]))
assert TaskResult.objects.get(task_name="tasks.fail").worker.startswith("celery@")
tasks.app.tasks["celery.backend_cleanup"]()
""")
    )
    assert rows == [
        ["tasks.add", "SUCCESS", '"[1, 2]"', "often", "3"],
        [
            "tasks.fail",
            "FAILURE",
            '"[]"',
            None,
            '{"exc_type":"LookupError","exc_message":["not here"],"exc_module":"builtins"}',
        ],
    ]


def test_django_celery_results_keeps_what_tasks_return_in_the_cache(project: Project) -> None:
    keep_results(project, "django-cache")

    with project.worker("-A", "tasks", "worker", "-l", "INFO"):
        project.client(RESULTS_ARE_KEPT)
