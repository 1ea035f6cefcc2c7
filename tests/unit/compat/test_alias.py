"""``import celery`` means umbel, where there is no Celery."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import umbel
from tests.bare import BareInterpreter
from umbel.exceptions import ImproperlyConfigured

Run = Callable[..., str]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BareInterpreter:
    return BareInterpreter(tmp_path_factory.mktemp("bare"))


@pytest.fixture
def run(bare: BareInterpreter, tmp_path: Path) -> Run:
    def run(program: str) -> str:
        return bare.run("-c", "import umbel\numbel.install_as_celery()\n" + program, cwd=tmp_path)

    return run


def test_the_alias_is_refused_beside_a_real_celery() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"Celery \d.*is installed"):
        umbel.install_as_celery()


def test_the_alias_is_refused_where_a_file_is_called_celery(
    bare: BareInterpreter, tmp_path: Path
) -> None:
    (tmp_path / "celery.py").touch()
    program = "import umbel\ntry: umbel.install_as_celery()\nexcept Exception as e: print(e)"

    assert str(tmp_path / "celery.py") in bare.run("-c", program, cwd=tmp_path)


def test_a_folder_called_celery_is_no_celery(bare: BareInterpreter, tmp_path: Path) -> None:
    (tmp_path / "celery").mkdir()
    program = "import umbel; umbel.install_as_celery(); import celery; print(celery.Celery)"

    assert "umbel.app.base" in bare.run("-c", program, cwd=tmp_path)


def test_every_way_to_import_gives_umbels_objects(run: Run) -> None:
    run("""
import celery, celery.result, celery.utils.log as log
from celery import Celery, schedules, shared_task
from celery.app.task import Task
from celery.schedules import *
from kombu import Exchange, Queue
from kombu.common import Broadcast
assert Celery is umbel.Celery and celery.shared_task is shared_task is umbel.shared_task
assert celery.result.AsyncResult is umbel.AsyncResult and Task is umbel.Task
assert crontab is schedules.crontab and crontab.__module__.startswith("umbel")
assert Queue is umbel.Queue and Exchange is umbel.Exchange and Broadcast is umbel.Broadcast
assert log.get_task_logger("x").parent.name == "umbel.task"
assert "Celery" in dir(celery) and "AsyncResult" in celery.result.__all__
""")


def test_the_release_is_told_as_celery_tells_it(run: Run) -> None:
    run("""
import celery, importlib.metadata
assert celery.__version__ == importlib.metadata.version("celery") == "5.7.0"
assert celery.VERSION >= (5, 5) and celery.VERSION.minor == 7
assert "celery" in {found.name for found in importlib.metadata.distributions()}
""")


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("from celery.result import Nothing", "ImportError"),
        ("from celery import Nothing", "ImportError"),
        ("import celery.nothing", "ModuleNotFoundError"),
        ("import celery; celery.nothing", "AttributeError"),
        ("import celery.result; celery.result.Nothing", "AttributeError"),
    ],
)
def test_what_umbel_lacks_is_named(run: Run, statement: str, error: str) -> None:
    said = run(f"""
try:
    {statement}
except Exception as problem:
    print(type(problem).__name__, problem)
""")

    assert said.startswith(f"{error} umbel, which stands for Celery here, has no celery.")
    assert "othing" in said


def test_asking_for_a_missing_name_is_no_error(run: Run) -> None:
    run("""
import celery, importlib.util
assert not hasattr(celery, "Nothing") and getattr(celery, "Nothing", 1) == 1
""")


def test_a_second_installation_does_nothing(run: Run) -> None:
    run("umbel.install_as_celery()\nimport celery\numbel.install_as_celery()")


def test_processes_that_are_started_have_the_alias_too(run: Run) -> None:
    run("""
import subprocess, sys
subprocess.run([sys.executable, "-c", "import umbel, celery; celery.Celery"], check=True)
""")


def test_a_real_kombu_is_left_alone(bare: BareInterpreter, tmp_path: Path) -> None:
    (tmp_path / "kombu").mkdir()
    (tmp_path / "kombu" / "__init__.py").write_text("mine = True")
    program = "import umbel; umbel.install_as_celery(); import celery, kombu; print(kombu.mine)"

    assert bare.run("-c", program, cwd=tmp_path) == "True\n"


@pytest.mark.parametrize(
    "configure",
    [
        # Flask's tutorial for Celery: all of a Flask's configuration.
        "app.conf.update(DEBUG=True, SECRET_KEY='x', CELERY_BROKER_URL='redis://', my_limit=5, \
ONCE={}, redbeat_redis_url='redis://')",
        "app.config_from_object(dict(my_limit=5, ONCE={}, redbeat_redis_url='redis://'))",
        "app.config_from_object(types.SimpleNamespace(my_limit=5, ONCE={}, \
redbeat_redis_url='redis://'))",
        "app.config_from_object(types.SimpleNamespace(CELERY_MY_LIMIT=5, CELERY_ONCE={}, \
CELERY_REDBEAT_REDIS_URL='redis://', CELERY_BEAT_DBURI='x'), namespace='CELERY')",
    ],
)
def test_settings_of_others_can_be_read_where_they_are_put(run: Run, configure: str) -> None:
    said = run(f"""
import types
from celery import Celery
app = Celery("own", broker="memory://")
{configure}
print(app.conf.redbeat_redis_url, app.conf.my_limit, app.conf.get("nothing_such"))
""")

    assert said == "redis:// 5 None\n"


@pytest.mark.parametrize(
    "configure",
    [
        "app.conf.update(task_ack_late=True)",
        "app.conf.task_ack_late = True",
        "app.config_from_object(dict(task_ack_late=True)); app.conf.timezone",
        "app.config_from_object(types.SimpleNamespace(task_ack_late=1)); app.conf.timezone",
    ],
)
def test_misspelt_settings_are_errors_under_the_alias_too(run: Run, configure: str) -> None:
    said = run(f"""
import types
from celery import Celery
app = Celery("own", broker="memory://")
try:
    {configure}
except umbel.exceptions.UnknownSetting as error:
    print(error)
""")

    assert "Did you mean 'task_acks_late'?" in said


def test_a_worker_ends_when_the_books_say_that_it_should(run: Run) -> None:
    run("""
import asyncio, celery.worker.state as state
from celery.worker import WorkController

async def serve():
    worker = WorkController(umbel.Celery("ends", broker="memory://"), pool="solo", quiet=True)
    running = asyncio.create_task(worker.arun())
    await worker.ready()
    assert state.should_stop is None
    state.should_stop = True
    assert await asyncio.wait_for(running, 30) == 0 and state.should_stop is True

asyncio.run(serve())
""")


def test_tests_with_celerys_fixtures_pass_with_umbels(
    bare: BareInterpreter, tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text(
        "import umbel\numbel.install_as_celery()\npytest_plugins = ('celery.contrib.pytest',)\n"
    )
    (tmp_path / "test_project.py").write_text("""
import pytest
from celery import shared_task
from celery.contrib.testing.worker import start_worker

@shared_task
def multiply(x, y):
    return x * y

@pytest.mark.celery(result_expires=7)
def test_fixtures(celery_app, celery_worker):
    assert type(celery_app).__module__ == "umbel.app.base"
    assert celery_app.conf.result_expires == 7
    assert multiply.delay(4, 4).get(timeout=30) == 16

def test_session(celery_session_app, celery_session_worker):
    assert multiply.delay(4, 4).get(timeout=30) == 16
""")

    output = bare.run("-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", cwd=tmp_path)

    assert "2 passed" in output
