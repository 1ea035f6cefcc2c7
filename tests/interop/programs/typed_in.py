"""Type the interpreter sessions of a document in; print what came out otherwise, as JSON.

python typed_in.py document.rst [module…]
python typed_in.py module… --record document.rst…

Results are compared where the document shows a plain value. Everything else is only to run, within
some seconds each. What is public in the modules is taken for granted. With ``--record``, what came
of everything is printed, to be compared with what came of it elsewhere: where there is Celery, it
is Celery that is used.
"""

from __future__ import annotations

import ast
import doctest
import importlib.util
import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

if importlib.util.find_spec("celery") is None:
    import umbel

    umbel.install_as_celery()
PATIENCE = 8
"""Seconds that a statement may take."""
VOLATILE = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b[\w.-]+@[\w.-]+|datetime\.datetime\([^)]*\)+"
)

# As an interpreter that one types in has it.
sys.path.insert(0, "")


class Raised(NamedTuple):
    """What a statement came to that has no value."""

    name: str


def differences(document: Path, modules: list[str]) -> list[list[str]]:
    """Statement and what came of it, for each that differs from what the document shows."""
    found: list[list[str]] = []
    for statement, came, shown in outcomes(document, modules):
        if isinstance(came, Raised):
            found.append([statement, came.name])
            continue
        try:
            want = ast.literal_eval(shown)
        except (SyntaxError, ValueError):
            continue
        if came != want:
            found.append([statement, repr(came)])
    return found


def record(documents: list[str], modules: list[str]) -> list[list[str]]:
    """Document, statement and what came of it, for all; ids and the like are as good as equal."""
    found: list[list[str]] = []
    for document in documents:
        for statement, came, _ in outcomes(Path(document), modules):
            if isinstance(came, Raised):
                found.append([Path(document).stem, statement, came.name])
                continue
            # Signatures are dictionaries, too.
            plain = type(came) in {str, int, float, bool, list, dict, tuple, type(None)}
            shown = VOLATILE.sub("...", repr(came)) if plain else type(came).__name__.strip("_")
            found.append([Path(document).stem, statement, shown])
    return found


def outcomes(document: Path, modules: list[str]) -> Iterator[tuple[str, Any, str]]:
    """Statement, value or what was raised, and what the document shows, for each statement."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    for module in modules:
        exec(f"from {module} import *", scope)
    # Not every document leaves a blank behind what continues a line.
    text = re.sub(r"^( *\.\.\.)(?=\S)", r"\1 ", document.read_text(), flags=re.MULTILINE)
    for example in doctest.DocTestParser().get_examples(text):
        statement = example.source.strip()
        signal.alarm(PATIENCE)
        try:
            came = _typed_in(statement, scope)
        except Exception as error:
            came = Raised(type(error).__name__)
        finally:
            signal.alarm(0)
        yield statement, came, example.want.strip()


def _typed_in(statement: str, scope: dict[str, Any]) -> Any:
    try:
        return eval(compile(statement, "<typed in>", "eval"), scope)
    except SyntaxError:
        exec(compile(statement, "<typed in>", "exec"), scope)


def _too_long(_number: int, _frame: Any) -> None:
    raise TimeoutError


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _too_long)
    if "--record" in sys.argv:
        split = sys.argv.index("--record")
        print(json.dumps(record(sys.argv[split + 1 :], sys.argv[1:split])))
    else:
        print(json.dumps(differences(Path(sys.argv[1]), sys.argv[2:])))
