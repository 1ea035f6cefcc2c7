"""Every document does what it says, from top to bottom, as its reader would do it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from umbel.testing.servers import redis_server

ROOT = Path(__file__).parent.parent.parent
PROGRAM = Path(__file__).parent / "pages.py"
RUNNABLE = ("```python", "```pycon", "```console")
PAGES = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if any(fence in path.read_text() for fence in RUNNABLE)
]


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    page: Path = request.getfixturevalue("page")
    if "redis://localhost:6379/0" not in page.read_text():
        yield ""
        return
    with redis_server() as server:
        yield server.url()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, redis_url: str) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, page],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "UMBEL_STATE_DIR": str(tmp_path / "state"),
            "DOCS_REDIS": redis_url,
        },
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    log = tmp_path / "worker.log"
    shown = log.read_text() if log.exists() else "no worker was started"
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n--- worker\n{shown}"
