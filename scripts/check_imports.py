"""An import inside a function says why it is there: a comment on its line or just above.

The comment names what the late import avoids. Imports that follow one another share it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent


def blocks(tree: ast.Module) -> Iterator[Sequence[ast.stmt]]:
    """Every run of statements that is inside a function."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            for field in ("body", "orelse", "finalbody"):
                block = getattr(node, field, None)
                if isinstance(block, list):
                    yield block


def unexplained(block: Sequence[ast.stmt], lines: Sequence[str]) -> Iterator[int]:
    """The line numbers of imports in the block without a comment."""
    explained = False
    for statement in block:
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            explained = False
            continue
        above = lines[statement.lineno - 2].strip()
        explained = explained or above.startswith("#") or "#" in lines[statement.lineno - 1]
        if not explained:
            yield statement.lineno


def main() -> int:
    """Say which imports lack a reason; 1 when one does."""
    found: set[str] = set()
    for path in sorted((ROOT / "umbel").rglob("*.py")):
        text = path.read_text()
        lines = text.splitlines()
        for block in blocks(ast.parse(text)):
            for number in unexplained(block, lines):
                statement = lines[number - 1].strip()
                found.add(f"{path.relative_to(ROOT)}:{number}: no reason for {statement!r}")
    print("\n".join(sorted(found)) or "every late import says why")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
