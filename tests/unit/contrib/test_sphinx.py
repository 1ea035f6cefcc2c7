"""Documentation of tasks, made by the real Sphinx."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

TASKS = '''
from umbel import Task, Umbel, shared_task

app = Umbel("x", broker="memory://")


@app.task
def add(x: int, y: int = 2) -> int:
    """Add numbers."""


@app.task(bind=True)
def later(self, when):
    """Do it later."""


@shared_task
def shared(a):
    """Everybody's."""


def plain():
    """No task."""
'''

INDEX = """
Tasks
=====

.. automodule:: proj
   :members:

.. autotask:: proj2.alone

See :py:task:`proj.add`.

.. py:task:: other(x)
"""


@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="needs Sphinx")
def test_tasks_are_documented_as_tasks_with_their_functions_signatures(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text(
        "import sys\nsys.path.insert(0, '.')\n"
        "extensions = ['umbel.contrib.sphinx']\ncelery_task_prefix = '(job)'\n"
    )
    (tmp_path / "proj.py").write_text('"""The project."""\n' + TASKS)
    (tmp_path / "proj2.py").write_text(TASKS + "\n\nalone = app.task(name='alone')(plain)\n")
    (tmp_path / "index.rst").write_text(INDEX)

    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "-n", "-b", "text", ".", "out"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    lines = [line for line in (tmp_path / "out" / "index.txt").read_text().splitlines() if line]
    assert lines[3:] == [
        "(job) proj.add(x: int, y: int = 2) -> int",
        "   Add numbers.",
        "(job) proj.later(when)",
        "   Do it later.",
        "proj.plain()",
        "   No task.",
        "(job) proj.shared(a)",
        "   Everybody's.",
        "(job) proj2.alone()",
        "   No task.",
        'See "proj.add()".',
        "(job) proj.other(x)",
    ]


def test_without_sphinx_the_module_can_be_imported_all_the_same() -> None:
    program = (
        "import sys; sys.modules['sphinx'] = None\n"
        "import umbel.contrib.sphinx as kit; print(all(hasattr(kit, n) for n in kit.__all__))"
    )

    found = subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60)

    assert found.strip() == "True"
