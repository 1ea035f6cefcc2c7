"""Type the interpreter sessions of a document in; print what came out otherwise, as JSON.

python typed_in.py document.rst [module…]

Results are compared where the document shows a plain value. Everything else is only to run, within
ten seconds each. What is public in the modules is taken for granted.
"""

from __future__ import annotations

import ast
import doctest
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import umbel

umbel.install_as_celery()
# As an interpreter that one types in has it.
sys.path.insert(0, "")


def differences(document: Path, modules: list[str]) -> list[list[str]]:
    """Statement and what came of it, for each that differs."""
    scope: dict[str, Any] = {}
    for module in modules:
        exec(f"from {module} import *", scope)
    found: list[list[str]] = []
    # Not every document leaves a blank behind what continues a line.
    text = re.sub(r"^( *\.\.\.)(?=\S)", r"\1 ", document.read_text(), flags=re.MULTILINE)
    examples = doctest.DocTestParser().get_examples(text)
    for example in examples:
        statement = example.source.strip()
        signal.alarm(10)
        try:
            came = _typed_in(statement, scope)
        except Exception as error:
            found.append([statement, type(error).__name__])
            continue
        finally:
            signal.alarm(0)
        try:
            want = ast.literal_eval(example.want.strip())
        except (SyntaxError, ValueError):
            continue
        if came != want:
            found.append([statement, repr(came)])
    return found


def _typed_in(statement: str, scope: dict[str, Any]) -> Any:
    try:
        return eval(compile(statement, "<typed in>", "eval"), scope)
    except SyntaxError:
        exec(compile(statement, "<typed in>", "exec"), scope)


def _too_long(_number: int, _frame: Any) -> None:
    raise TimeoutError


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _too_long)
    print(json.dumps(differences(Path(sys.argv[1]), sys.argv[2:])))
