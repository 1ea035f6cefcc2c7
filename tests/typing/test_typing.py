"""The public types, under both checkers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MISTAKES = HERE / "mistakes.py"
MARKED = {
    number
    for number, line in enumerate(MISTAKES.read_text().splitlines(), start=1)
    if line.endswith("# error")
}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False, cwd=HERE
    )


def pyright_errors(file: Path) -> set[int]:
    report = json.loads(run("pyright", "--outputjson", str(file)).stdout)
    return {
        problem["range"]["start"]["line"] + 1
        for problem in report["generalDiagnostics"]
        if problem["severity"] == "error"
    }


def mypy_errors(file: Path) -> set[int]:
    output = run("mypy", "--strict", "--follow-imports=silent", str(file)).stdout
    return {int(number) for number in re.findall(rf"{file.name}:(\d+): error", output)}


def test_mypy_knows_what_calls_return() -> None:
    assert mypy_errors(HERE / "calls.py") == set()


def test_mypy_finds_wrong_arguments() -> None:
    assert mypy_errors(MISTAKES) == MARKED


def test_pyright_knows_what_calls_return() -> None:
    assert pyright_errors(HERE / "calls.py") == set()


def test_pyright_finds_wrong_arguments() -> None:
    assert pyright_errors(MISTAKES) == MARKED
