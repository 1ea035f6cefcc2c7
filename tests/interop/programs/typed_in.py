"""Type the interpreter sessions of a document in; print what came out otherwise, as JSON.

python typed_in.py document.rst

Results are compared where the document shows a plain value. Everything else is only to run.
"""

from __future__ import annotations

import ast
import doctest
import json
import sys
from pathlib import Path
from typing import Any

import umbel

umbel.install_as_celery()
# As an interpreter that one types in has it.
sys.path.insert(0, "")


def differences(document: Path) -> list[list[str]]:
    """Statement and what came of it, for each that differs."""
    scope: dict[str, Any] = {}
    found: list[list[str]] = []
    examples = doctest.DocTestParser().get_examples(document.read_text())
    for example in examples:
        statement = example.source.strip()
        try:
            came = _typed_in(statement, scope)
        except Exception as error:
            found.append([statement, type(error).__name__])
            continue
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


if __name__ == "__main__":
    print(json.dumps(differences(Path(sys.argv[1]))))
