"""A project whose tests use Celery's fixtures passes them with umbel as it does with Celery."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bare import BareInterpreter

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parent / "programs" / "fixtures"
COMMAND = ("-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", "--import-mode=prepend")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "tests"
    shutil.copytree(PROJECT, folder)
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\npythonpath = .\n"
    )
    return folder


def test_they_pass_with_umbel(project: Path, tmp_path: Path) -> None:
    bare = BareInterpreter(tmp_path / "bare")
    alias = bare.packages / "sitecustomize.py"
    alias.write_text("import umbel\numbel.install_as_celery()\n")

    output = bare.run(*COMMAND, cwd=project)

    assert "15 passed" in output


@pytest.mark.skipif(
    not os.environ.get("UMBEL_LONG_TESTS"), reason="takes half a minute: set UMBEL_LONG_TESTS=1"
)
def test_they_pass_with_celery(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, *COMMAND],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert "15 passed" in done.stdout, done.stdout
