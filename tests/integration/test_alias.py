"""Workers with ``--as-celery``, in an interpreter without Celery."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bare import BareInterpreter, Project

TASKS = """
from celery import Celery, chain, shared_task
from celery.exceptions import Retry
from celery.signals import task_success
from celery.utils.log import get_task_logger

app = Celery("tasks")
logger = get_task_logger(__name__)


@task_success.connect
def say(sender=None, result=None, **kwargs):
    logger.info("heard of %s", result)


@shared_task(bind=True, max_retries=1)
def flaky(self, x):
    if not self.request.retries:
        raise self.retry(countdown=0)
    return x


@app.task
def double(x):
    return 2 * x
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pool_processes_have_the_alias_however_they_start(tmp_path: Path, method: str) -> None:
    bare = BareInterpreter(tmp_path / "bare")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "tasks.py").write_text(TASKS)
    url = f"sqlite:///{tmp_path}/work.db"
    project = Project(tmp_path / "project", bare, {"CELERY_BROKER_URL": url})

    with project.worker("-A", "tasks", "worker", "-l", "INFO", "--pool-start-method", method):
        printed = project.client("""
from celery import chain
from tasks import double, flaky
print(chain(flaky.s(4), double.s()).delay().get(timeout=60))
""")
        project.wait_for("heard of 8")
    assert printed == "8\n"


@pytest.mark.parametrize("pool", [("-P", "gevent"), ("--pool-start-method", "spawn", "-c", "1")])
def test_the_default_app_runs_in_every_kind_of_pool(tmp_path: Path, pool: tuple[str, ...]) -> None:
    if "gevent" in pool:
        pytest.importorskip("gevent")
    bare = BareInterpreter(tmp_path / "bare")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "celeryconfig.py").write_text("imports = ('jobs',)")
    (folder / "jobs.py").write_text(
        "from celery import shared_task\n\n@shared_task\ndef double(x):\n    return 2 * x\n"
    )
    project = Project(folder, bare, {"CELERY_BROKER_URL": f"sqlite:///{tmp_path}/work.db"})

    with project.worker("worker", "-l", "INFO", *pool):
        printed = project.client("from jobs import double; print(double.delay(4).get(timeout=60))")
    assert printed == "8\n"
