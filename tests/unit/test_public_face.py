"""What ``import umbel`` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import umbel
from umbel import Umbel


def test_everything_that_is_promised_is_there() -> None:
    for name in umbel.__all__:
        assert getattr(umbel, name) is not None


def test_the_familiar_names_are_there() -> None:
    familiar = {
        *("Celery", "Task", "Signature", "signature", "maybe_signature", "shared_task"),
        *("current_app", "current_task", "bugreport", "AsyncResult"),
    }
    assert familiar <= set(umbel.__all__)


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert umbel.__version__ == version("umbel")


def test_importing_umbel_loads_nothing_that_costs() -> None:
    costly = (
        *("asyncio", "dataclasses", "concurrent.futures", "multiprocessing", "subprocess"),
        *("socket", "ssl", "tempfile", "importlib.metadata", "click", "redis", "yaml"),
        *("pydantic", "logging.handlers", "urllib.request"),
    )
    program = (
        "import sys; before = set(sys.modules)\n"
        "from umbel import Umbel\n"
        "app = Umbel('x', broker='redis://h')\n"
        "app.task(name='a')(lambda: None)\n"
        f"print([n for n in {costly!r} if n in sys.modules and n not in before])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout

    assert shown.strip() == "[]"


def test_nothing_private_is_needed_for_the_first_example() -> None:
    with Umbel("tasks", broker="memory://first", set_as_current=False) as app:

        @app.task
        def add(x: int, y: int) -> int:
            return x + y

        assert add(2, 2) == 4
        assert add.delay(2, 2).state == "PENDING"


def test_the_bug_report_names_versions_and_changes_and_hides_secrets() -> None:
    app = Umbel("shop", broker="redis://:secret@h/1", set_as_current=False)
    app.conf.task_default_queue = "own"

    for report in (app.bugreport(), umbel.bugreport(app)):
        lines = {line.partition(" ")[0]: line for line in report.splitlines()}
        assert umbel.__version__ in lines["umbel"]
        assert "msgspec:" in lines["packages"]
        assert lines["broker"].endswith("redis://:**@h/1")
        assert "task_default_queue: 'own'" in report
        assert "secret" not in report
    assert umbel.bugreport().startswith("umbel")
