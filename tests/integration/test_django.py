"""umbel in a Django project, without the alias: the real Django on SQLite, workers in processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .site import Site

pytest.importorskip("django")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

SETTINGS = """
import os

INSTALLED_APPS = ["shop.apps.ShopConfig", "django.contrib.contenttypes"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "shop.sqlite3",
        "CONN_MAX_AGE": int(os.environ.get("MAX_AGE", "0")),
    }
}
TIME_ZONE = "Asia/Tokyo"
USE_TZ = True
UMBEL_TASK_TRACK_STARTED = True
"""

APPS = """
from django.apps import AppConfig
from django.core import checks
from django.db import connection


class ShopConfig(AppConfig):
    name = "shop"
    opened = None

    def ready(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        ShopConfig.opened = connection.connection
        checks.register(lambda app_configs, **_: [checks.Error("the shop is shut", id="shop.E1")])
"""

TASKS = """
import os

from asgiref.sync import sync_to_async
from django.db import connection

from shop.apps import ShopConfig
from umbel import shared_task

seen = []


def ask():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 40 + 2")
        (answer,) = cursor.fetchone()
    if connection.connection not in seen:
        seen.append(connection.connection)
    return answer


@shared_task(name="look")
def look():
    answer = ask()
    return answer, len(seen), ShopConfig.opened in seen


@shared_task(name="alook")
async def alook():
    answer = await sync_to_async(ask)()
    return answer, len(seen), ShopConfig.opened in seen


@shared_task(name="fails")
def fails():
    ask()
    raise LookupError
"""

PROJECT = """
from umbel import Umbel

app = Umbel("site")
app.config_from_object("django.conf:settings", namespace="UMBEL")
app.autodiscover_tasks()
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(tmp_path, f"sqlite:///{tmp_path / 'queue.db'}", PROJECT)
    (tmp_path / "settings.py").write_text(SETTINGS)
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "__init__.py").touch()
    (shop / "apps.py").write_text(APPS)
    (shop / "tasks.py").write_text(TASKS)
    # Ours was made before, and stays without Django.
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "settings")
    yield site
    site.close()


def runs(site: Site, task: str, count: int) -> list[list[object]]:
    return [site.app.send_task(task).get(timeout=40) for _ in range(count)]


@pytest.mark.parametrize(
    ("pool", "task"),
    [
        (("-P", "prefork", "-c", "1"), "look"),
        (("-P", "prefork", "-c", "1", "--pool-start-method", "spawn"), "look"),
        (("-P", "threads", "-c", "1"), "look"),
        (
            (
                "-P",
                "asyncio",
            ),
            "alook",
        ),
        (("-P", "gevent"), "look"),
    ],
    ids=lambda given: given[-1] if isinstance(given, tuple) else given,
)
def test_each_task_has_a_connection_of_its_own(
    site: Site, pool: tuple[str, ...], task: str
) -> None:
    if "gevent" in pool:
        pytest.importorskip("gevent")
    site.ready(*pool)

    assert runs(site, task, 3) == [[42, count, False] for count in (1, 2, 3)]


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_connection_is_kept_for_as_long_as_its_maximal_age(
    site: Site, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_AGE", "600")
    site.ready("-P", pool, "-c", "1")

    assert runs(site, "look", 1) == [[42, 1, False]]
    with pytest.raises(LookupError):
        site.app.send_task("fails").get(timeout=40)
    assert runs(site, "look", 2) == [[42, 1, False]] * 2


def test_errors_that_djangos_checks_find_are_in_the_log_unless_they_are_skipped(
    site: Site,
) -> None:
    process = site.ready("-P", "solo")
    assert "Django's checks: ?: (shop.E1) the shop is shut" in site.log.read_text()
    site.end(process, signal.SIGTERM)
    site.log.unlink()

    site.ready("-P", "solo", "--skip-checks")
    assert "the shop is shut" not in site.log.read_text()


def test_a_project_that_django_cannot_set_up_ends_the_worker_and_says_why(site: Site) -> None:
    (site.folder / "settings.py").write_text("INSTALLED_APPS = ['shut']")

    done = subprocess.run(
        [sys.executable, "-m", "umbel", "-A", "tasks", "-b", site.url, "worker", "-P", "solo"],
        cwd=site.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "No module named 'shut'" in done.stderr
