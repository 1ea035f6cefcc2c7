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


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_the_workflows_end_as_they_should_in_every_pool(pool: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.workflows", "--pool", pool, "--squares", "300"],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "EXAMPLE_BROKER": f"sqlite:///{tmp_path}/q.db",
            "EXAMPLE_BACKEND": f"sqlite:///{tmp_path}/q.db",
        },
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "log levels: {'ERROR': 2, 'INFO': 3, 'WARNING': 1}" in done.stdout
    assert "pages: ['/', '/about', '/news', '/news/1', '/news/2']" in done.stdout
    assert "words: [['the', 4], ['dog', 2], ['fox', 2]]" in done.stdout
    assert "300/300" in done.stdout
    assert f"sum of squares: {sum(n * n for n in range(300))}" in done.stdout
