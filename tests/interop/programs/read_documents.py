"""Which names that the Python code of Celery's documents uses are missing, as JSON.

python read_documents.py folder document.rst…

Without Celery it reads with umbel in its place, else with Celery: documents grow old, too.

A block's imports have to work. What it then says of an imported name, and of the usual names for
an app, a task, a result and the like (``app.control.inspect``), has to be there as far as it can
be followed without calling anything.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if importlib.util.find_spec("celery") is None:
    import umbel

    umbel.install_as_celery()

import celery
from celery.result import AsyncResult

ROOTS = ("celery", "kombu", "billiard")
BLOCK = re.compile(
    r"^(?P<indent> *)(?:\.\. code-block:: (?:python|pycon)|[^\n]*::)\n(?:[ ]+:\w+:[^\n]*\n)*\n"
    r"(?P<text>(?:(?:(?P=indent) +[^\n]*)?\n)+)",
    re.MULTILINE,
)
ENDS_WITH_A_BLOCK = re.compile(r"\.\. (?!code-block:: (?:python|pycon))")
PROMPT = re.compile(r"^(?:>>>|\.\.\.) ?(.*)$", re.MULTILINE)


def blocks(text: str) -> Iterator[str]:
    """The Python code of a document, each block by itself; sessions without what they print."""
    for found in BLOCK.finditer(text):
        if ENDS_WITH_A_BLOCK.match(found[0].lstrip()):
            continue
        code = textwrap.dedent(found["text"]).strip() + "\n"
        if ">>> " in code:
            code = "".join(f"{line}\n" for line in PROMPT.findall(code))
        yield code


def parsed(code: str) -> ast.Module:
    """The block as far as it is Python: documents leave things out, and show what is not."""
    lines = code.splitlines()
    while lines:
        try:
            return ast.parse("\n".join(lines))
        except SyntaxError as error:
            del lines[min(error.lineno or 1, len(lines)) - 1]
    return ast.Module([], [])


class Reader(ast.NodeVisitor):
    """Looks up what one block names."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = dict(known)
        self.missing: set[str] = set()

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.partition(".")[0] in ROOTS:
                module = self.module(alias.name)
                top = sys.modules.get(alias.name.partition(".")[0])
                self.known[alias.asname or alias.name.partition(".")[0]] = (
                    module if alias.asname else top
                )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        name = node.module or ""
        if node.level or name.partition(".")[0] not in ROOTS:
            return
        for alias in node.names:
            module = self.module(name)
            if alias.name == "*" or module is None:
                continue
            try:
                found = getattr(module, alias.name)
            except AttributeError:
                found = self.module(f"{name}.{alias.name}")
            self.known[alias.asname or alias.name] = found

    def module(self, name: str) -> Any:
        try:
            return importlib.import_module(name)
        except ImportError:
            self.missing.add(name)
            return None

    def visit_Attribute(self, node: ast.Attribute) -> None:
        names = [node.attr]
        inner: ast.expr = node.value
        while isinstance(inner, ast.Attribute):
            names.append(inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            self.visit(inner)
            return
        found = self.known.get(inner.id)
        path = inner.id
        for name in reversed(names):
            if found is None or (isinstance(node.ctx, ast.Store) and name == node.attr):
                return
            path = f"{path}.{name}"
            try:
                found = getattr(found, name)
            except AttributeError:
                self.missing.add(path)
                return


def usual_names() -> dict[str, Any]:
    """What documents take for granted."""
    app = celery.Celery("read", broker="memory://")

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    return {
        **dict.fromkeys(("app", "celery_app"), app),
        **dict.fromkeys(("add", "mul", "task"), add),
        **dict.fromkeys(("result", "res"), AsyncResult),
        "i": app.control.inspect(),
        "state": app.events.State(),
    }


def main(folder: Path, documents: list[str]) -> list[str]:
    """``document: name`` for everything that is missing."""
    known = usual_names()
    found: set[str] = set()
    for document in documents:
        for code in blocks((folder / document).read_text()):
            reader = Reader(known)
            reader.visit(parsed(code))
            found |= {f"{document}: {name}" for name in reader.missing}
    return sorted(found)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2:])))
