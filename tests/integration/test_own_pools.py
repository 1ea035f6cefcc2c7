"""Workers with pools that programs bring along, written for Celery."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bare import BareInterpreter, Project

TASKS = """
import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

from celery import Celery
from celery.concurrency.base import BasePool, apply_target

app = Celery("tasks")


class Threads(BasePool):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.executor = ThreadPoolExecutor(self.limit)
        print("made with", sorted(self.options), self.app.main)

    def on_start(self):
        print("guest has started")

    def on_stop(self):
        self.executor.shutdown()
        super().on_stop()
        print("guest has stopped")

    def on_apply(self, target, args=None, kwargs=None, callback=None, accept_callback=None, **_):
        return self.executor.submit(
            apply_target, target, args, kwargs, callback, accept_callback
        )

    def _get_info(self):
        return {**super()._get_info(), "threads": len(self.executor._threads)}


class Processes(Threads):
    def on_start(self):
        self.executor = ProcessPoolExecutor(self.limit, get_context("spawn"))

    def on_apply(self, target, args, kwargs, callback, error_callback, accept_callback, **_):
        accept_callback(None, time.monotonic())
        future = self.executor.submit(target, *args, **kwargs)
        future.add_done_callback(
            lambda done: error_callback(done.exception())
            if done.exception()
            else callback(done.result())
        )

    def _get_info(self):
        return BasePool._get_info(self)


@app.task
def where(text):
    return text, os.getpid()


@app.task
async def later(text):
    return text


@app.task(bind=True, max_retries=1, default_retry_delay=0)
def fail(self):
    raise self.retry(exc=LookupError("in the pool"))


@app.task(acks_late=True)
def end():
    os._exit(3)
"""

CLIENT = """
import json
from tasks import app, fail, later, where
sent = [where.delay(str(number)) for number in range(50)]
found = [each.get(timeout=60) for each in sent]
assert [text for text, _ in found] == [str(number) for number in range(50)]
assert later.delay("later").get(timeout=60) == "later"
error = fail.delay().get(timeout=60, propagate=False)
assert repr(error) == "LookupError('in the pool')", error
[stats] = app.control.inspect().stats().values()
print(json.dumps([len({pid for _, pid in found}), found[0][1] == stats["pid"], stats["pool"]]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "tasks.py").write_text(TASKS)
    env = {"CELERY_BROKER_URL": f"sqlite:///{tmp_path}/work.db"}
    return Project(tmp_path / "project", BareInterpreter(tmp_path / "bare"), env)


def test_tasks_run_in_a_pool_made_for_celery(project: Project) -> None:
    project.env = {**project.env, "CELERY_CUSTOM_WORKER_POOL": "tasks:Threads"}
    with project.worker("-A", "tasks", "worker", "-l", "INFO", "-P", "custom", "-c", "3"):
        processes, is_worker, told = json.loads(project.client(CLIENT))

    log = project.log.read_text()
    assert (processes, is_worker) == (1, True)
    assert told["implementation"] == "tasks:Threads"
    assert told["max-concurrency"] == 3
    # As many as were needed.
    assert 1 <= told["threads"] <= 3
    assert "initargs', 'max_memory_per_child', 'maxtasksperchild', 'soft_timeout'" in log
    assert log.index("guest has started") < log.index("ready.") < log.index("guest has stopped")


def test_a_pool_may_have_processes_of_its_own(project: Project) -> None:
    with project.worker("-A", "tasks", "worker", "-l", "INFO", "-P", "tasks:Processes", "-c", "2"):
        processes, is_worker, told = json.loads(project.client(CLIENT))
        assert not is_worker
        assert 1 <= processes <= 2
        assert told["implementation"] == "tasks:Processes"
        ended = project.client("""
from tasks import end
print(repr(end.delay().get(timeout=60, propagate=False)))
""")
    assert "WorkerLostError" in ended
