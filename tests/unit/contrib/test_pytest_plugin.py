"""The plug-in, in projects of its own: a nested pytest runs their tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

PLUGIN = 'pytest_plugins = ("umbel.contrib.pytest",)\n'

TASKS = """
from umbel import shared_task

@shared_task
def multiply(x, y):
    return x * y
"""


def _run(folder: Path, files: dict[str, str], *options: str, **env: str) -> str:
    for name, text in files.items():
        (folder / name).write_text(dedent(text))
    (folder / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:xdist"),
            *("-p", "no:asyncio", "--strict-markers", "-W", "error", *options),
        ],
        cwd=folder,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    return done.stdout


def test_a_projects_tests_get_what_the_fixtures_promise(tmp_path: Path) -> None:
    tests = """
    import threading

    import pytest

    from umbel import Task, current_app
    from umbel.app.current import get_current_app, shared_task


    def test_a_worker_runs_the_tasks_of_the_tests_own_app(celery_app, celery_worker):
        @celery_app.task
        def add(x, y):
            return x + y

        celery_worker.reload()
        assert add.delay(2, 2).get(timeout=30) == 4


    @pytest.mark.parametrize("turn", [1, 2])
    def test_included_modules_are_known_to_every_worker(celery_app, celery_worker, turn):
        from tasks import multiply

        assert multiply.delay(turn, 3).get(timeout=30) == 3 * turn
        assert "test_project.local" not in celery_app.tasks

        @shared_task(name="test_project.local")
        def local():
            pass


    def test_an_app_has_the_settings_and_the_parameters(celery_app):
        assert celery_app.conf.result_expires.total_seconds() == 42
        assert celery_app.main == "of the project"
        assert not celery_app.strict_typing
        assert celery_app.conf.broker_url == "memory://"
        assert celery_app.conf.result_backend == "cache+memory://"


    @pytest.mark.celery(result_expires=7, task_always_eager=True)
    def test_the_marker_has_the_last_word(celery_app):
        assert celery_app.conf.result_expires == 7

        @celery_app.task
        def here():
            return threading.get_ident()

        assert here.delay().get() == threading.get_ident()


    def test_the_app_is_not_the_current_one(celery_app):
        assert get_current_app() is not celery_app


    @pytest.mark.usefixtures("depends_on_current_app")
    def test_the_app_is_the_current_one_where_it_has_to(celery_app):
        assert get_current_app() is celery_app


    def test_the_worker_is_as_the_fixtures_say(celery_worker):
        assert celery_worker.options.pool == "threads"
        assert celery_worker.options.concurrency == 3


    # Last: from now on there is a current app.
    def test_the_sessions_worker_runs_class_tasks(celery_session_app, celery_session_worker):
        assert get_current_app() is celery_session_app
        assert celery_session_app.tasks["greet"].delay("you").get(timeout=30) == "hello, you"
        assert current_app.tasks["tasks.multiply"].delay(2, 3).get(timeout=30) == 6
    """
    conftest = """
    import datetime

    import pytest

    from umbel import Task

    class Greet(Task):
        name = "greet"

        def run(self, whom):
            return f"hello, {whom}"

    @pytest.fixture(scope="session")
    def celery_config():
        return {"result_expires": datetime.timedelta(seconds=42)}

    @pytest.fixture(scope="session")
    def celery_parameters():
        return {"name": "of the project", "strict_typing": False}

    @pytest.fixture(scope="session")
    def celery_includes():
        return ["tasks"]

    @pytest.fixture(scope="session")
    def celery_worker_pool():
        return "threads"

    @pytest.fixture(scope="session")
    def celery_worker_parameters():
        return {"concurrency": 3}

    @pytest.fixture(scope="session")
    def celery_class_tasks():
        return [Greet]
    """
    files = {"tasks.py": TASKS, "test_project.py": tests}

    output = _run(tmp_path, {**files, "conftest.py": PLUGIN + dedent(conftest)})

    assert "9 passed" in output, output


def test_the_trap_catches_whoever_uses_the_current_app(tmp_path: Path) -> None:
    tests = """
    import threading

    import pytest

    from umbel import current_app

    @pytest.fixture(scope="session")
    def use_celery_app_trap():
        return True

    def test_here(celery_app):
        with pytest.raises(RuntimeError, match="Test depends on current_app"):
            current_app.conf

    def test_in_another_thread(celery_app):
        caught = []

        def use():
            try:
                current_app.tasks
            except RuntimeError as error:
                caught.append(str(error))

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert "'tasks'" in caught[0]

    def test_what_has_its_app_works(celery_app):
        @celery_app.task
        def add(x, y):
            return x + y

        assert add.apply((2, 2)).get() == 4
        assert add.s(2, 2).apply().get() == 4

    @pytest.mark.usefixtures("depends_on_current_app")
    def test_who_says_so_may(celery_app):
        assert current_app.main == celery_app.main

    def test_no_worker_is_started_where_somebody_else_has_one(celery_worker, celery_session_worker):
        assert celery_worker is celery_session_worker is None
    """

    output = _run(tmp_path, {"conftest.py": PLUGIN, "test_trap.py": tests}, NO_WORKER="1")

    assert "5 passed" in output, output


def test_celerys_own_plug_in_works_beside_umbel(tmp_path: Path) -> None:
    conftest = 'pytest_plugins = ("celery.contrib.pytest",)\n'
    tests = """
    import umbel.contrib.testing.worker

    def test_app(celery_app):
        assert type(celery_app).__module__ == "celery.app.base"
    """

    output = _run(tmp_path, {"conftest.py": conftest, "test_celery.py": tests}, "-W", "default")

    assert "1 passed" in output, output


def test_two_plug_ins_with_the_same_fixtures_are_an_error_that_says_so(tmp_path: Path) -> None:
    conftest = 'pytest_plugins = ("celery.contrib.pytest", "umbel.contrib.pytest")\n'

    output = _run(tmp_path, {"conftest.py": conftest}, "-W", "default")

    assert "take one of them out of pytest_plugins" in output, output
