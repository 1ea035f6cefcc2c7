"""Files stay at 500 lines or fewer, functions at 60 or fewer, docstring not counted."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("umbel", "benchmarks", "examples", "scripts")
FILE_LINES = 500
FUNCTION_LINES = 60


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, without the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def complaints(path: Path) -> Iterator[str]:
    """What is too long in one file."""
    name = path.relative_to(ROOT)
    text = path.read_text()
    if (lines := text.count("\n")) > FILE_LINES:
        yield f"{name}: {lines} lines, more than {FILE_LINES}; split it by noun"
    for function in functions(ast.parse(text)):
        if (lines := length(function)) > FUNCTION_LINES:
            yield f"{name}:{function.lineno}: {function.name} has {lines} lines"


def main() -> int:
    """Say what is too long; 1 when something is."""
    paths = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    found = [complaint for path in paths for complaint in complaints(path)]
    print("\n".join(found) or f"{len(paths)} files, none too long")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
