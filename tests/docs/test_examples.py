"""The examples do what they promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_the_demo_ends_with_everything_checked() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "all checked" in done.stdout


def test_the_first_example_is_the_one_of_the_readme() -> None:
    example = (ROOT / "examples" / "quickstart" / "tasks.py").read_text()
    readme = (ROOT / "README.md").read_text()

    for line in ("from umbel import Umbel", 'app = Umbel("tasks")', "@app.task", "return x + y"):
        assert line in example
        assert line in readme
