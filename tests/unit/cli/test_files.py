"""``umbel logtool``, ``umbel upgrade`` and ``umbel migrate``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from umbel import Umbel

Run = Callable[..., tuple[int, str, str]]

LOG = """\
umbel v1 on here
[2026-01-01 10:00:00,000: INFO/MainProcess] w@here ready.
[2026-01-01 10:00:01,000: INFO/MainProcess] Task shop.add[a-1] received
[2026-01-01 10:00:01,000: INFO/MainProcess] Task shop.add[a-2] received
[2026-01-01 10:00:01,000: INFO/MainProcess] Task shop.mail[a-3] received
[2026-01-01 10:00:02,000: INFO/ForkPoolWorker-1] Task shop.add[a-1] succeeded in 0.1s: 3
[2026-01-01 10:00:02,000: INFO/ForkPoolWorker-1] Task shop.mail[a-3] retry: Retry in 3s
[2026-01-01 10:00:03,000: ERROR/ForkPoolWorker-1] Task shop.add[a-2] raised unexpected: KeyError(1)
Traceback (most recent call last):
KeyError: 1
[2026-01-01 10:00:04,000: INFO/MainProcess] Task shop.mail[a-3] received
"""


@pytest.fixture
def log(tmp_path: Path) -> str:
    path = tmp_path / "w.log"
    path.write_text(LOG)
    return str(path)


def test_a_log_is_counted(run: Run, log: str) -> None:
    _, out, _ = run("logtool", "stats", log, "--json")

    assert json.loads(out) == {
        "total": 3,
        "errors": 1,
        "success": 1,
        "completed": 2,
        "tasks": {"shop.add": 2, "shop.mail": 1},
    }
    assert "Task success: 1\n" in run("logtool", "stats", log)[1]


def test_a_log_is_sifted(run: Run, log: str) -> None:
    lines = LOG.splitlines(keepends=True)

    assert run("logtool", "errors", log)[1] == lines[7]
    assert run("logtool", "traces", log)[1] == "".join(lines[7:10])
    assert run("logtool", "incomplete", log)[1] == "Did not complete: a-3\n"
    assert run("logtool", "debug", log)[1] == lines[1]


def test_a_log_that_is_not_there_is_one_sentence(run: Run) -> None:
    code, _, err = run("logtool", "stats", "nowhere.log")

    assert code == 1
    assert "nowhere.log" in err


SETTINGS = """\
import os  # BROKER_URL
BROKER_URL = os.environ["BROKER_URL"]
CELERYD_CONCURRENCY=4;  CELERY_RESULT_BACKEND = BROKER_URL
OTHER = {"CELERY_TASK_SERIALIZER": "json", "x": "CELERY_TIMEZONE"}
app.conf.CELERY_TIMEZONE = app.conf["CELERY_IGNORE_RESULT"] = settings.CELERY_TIMEZONE
"""


def test_old_settings_get_new_names_and_nothing_else_changes(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "conf.py"
    path.write_bytes(SETTINGS.replace("\n", "\r\n").encode())

    assert run("upgrade", "settings", "conf.py")[0] == 0

    assert (
        path.read_bytes().decode()
        == """\
import os  # BROKER_URL
broker_url = os.environ["BROKER_URL"]
worker_concurrency=4;  result_backend = broker_url
OTHER = {"task_serializer": "json", "x": "CELERY_TIMEZONE"}
app.conf.timezone = app.conf["task_ignore_result"] = settings.CELERY_TIMEZONE
""".replace("\n", "\r\n")
    )
    assert (tmp_path / "conf.py.orig").read_bytes() == SETTINGS.replace("\n", "\r\n").encode()
    assert "does not seem" in run("upgrade", "settings", "conf.py")[1].lower()


def test_settings_of_django_keep_their_prefix(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "settings.py"
    path.write_text("BROKER_URL = 1\nCELERYD_CONCURRENCY = 2\nCELERY_TIMEZONE = 3\nDEBUG = 1\n")

    assert run("upgrade", "settings", "settings.py", "--django", "--no-backup")[0] == 0

    assert path.read_text() == (
        "CELERY_BROKER_URL = 1\nCELERY_WORKER_CONCURRENCY = 2\nCELERY_TIMEZONE = 3\nDEBUG = 1\n"
    )
    assert not path.with_name("settings.py.orig").exists()


def test_what_is_not_python_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text("BROKER_URL = (")

    code, _, err = run("upgrade", "settings", "conf.py")

    assert code == 1
    assert "is not Python" in err


def counted(app: Umbel, run: Run, url: str, queue: str) -> int:
    """How many messages a queue has, which has none then."""
    other = Umbel("other", broker=url, backend="memory://", set_as_current=False)
    try:

        async def purge() -> int:
            return await (await other.connections.broker()).purge([queue])

        return other.portal.call(purge)
    finally:
        other.close()


def test_messages_are_copied_then_moved(run: Run, app: Umbel, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    for number in range(5):
        app.send_task("shop.add", (number, 1))
    app.send_task("shop.other")
    app.send_task("shop.add", countdown=600)

    code, out, err = run("migrate", app.broker_url, target, "-T", "shop.add", "-t", "0.1")

    assert code == 0
    assert out.endswith("Copied 5 messages.\n")
    assert "Migrating task 1/6: shop.add[" in out
    assert "1 message for later stayed" in err
    assert counted(app, run, target, "celery") == 5

    code, out, _ = run(
        *("migrate", app.broker_url, target, "-a", "-Q", "celery:post", "-n", "4", "-t", "0.1"),
        "--json",
    )

    assert json.loads(out) == {"migrated": 4, "skipped": 0, "not_due": 1}
    assert counted(app, run, target, "post") == 4
    assert counted(app, run, app.broker_url, "celery") == 3


def test_copying_for_ever_is_refused(run: Run) -> None:
    assert run("migrate", "memory://a", "memory://b", "-F")[0] == 2
