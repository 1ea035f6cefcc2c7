"""Runs a document: what it tells the reader to type, in the order it says so.

- a Python block with a title (three backticks, ``python title="tasks.py"``) is a file that the
  reader writes;
- a Python block without one, and a ``pycon`` session, is typed into one interpreter, which lasts
  for the page; what a session shows must come out;
- a ``console`` line that begins with ``$`` is typed into a shell. A worker stays until another
  one is started or the page ends; anything else has to succeed, and to print the lines below it,
  where there are any (``...`` stands for any text);
- everything else is only read.

Started as a program in the folder of the page: ``python pages.py page.md``.
"""

from __future__ import annotations

import doctest
import fnmatch
import os
import re
import shlex
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REDIS = "redis://localhost:6379/0"
"""As the documents write it; what is meant is the server in ``DOCS_REDIS``."""


class Block(NamedTuple):
    """One fenced block."""

    language: str
    title: str
    text: str
    line: int


def blocks_of(page: str) -> list[Block]:
    return [
        Block(found[1], found[2] or "", found[3], page.count("\n", 0, found.start()) + 2)
        for found in BLOCK.finditer(page)
    ]


class Reader:
    """Someone who types in what a page says."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.worker: subprocess.Popen[bytes] | None = None
        self.names: dict[str, object] = {"__name__": "__main__"}
        self.failures = 0

    def read(self) -> int:
        text = self.page.read_text().replace(REDIS, os.environ.get("DOCS_REDIS", REDIS))
        try:
            for block in blocks_of(text):
                self.follow(block)
        finally:
            self.end_worker()
        return self.failures

    def follow(self, block: Block) -> None:
        match block.language, block.title:
            case "python", "":
                # The line numbers of a traceback are those of the page.
                padded = "\n" * (block.line - 1) + block.text
                exec(compile(padded, str(self.page), "exec"), self.names)
            case "python", title:
                Path(title).write_text(block.text)
            case "pycon", _:
                self.session(block)
            case "console", _:
                self.shell(block)
            case _:
                pass

    def session(self, block: Block) -> None:
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
        example = doctest.DocTestParser().get_doctest(
            block.text, self.names, self.page.name, str(self.page), block.line - 1
        )
        runner = doctest.DocTestRunner(optionflags=flags)
        self.failures += runner.run(example, clear_globs=False).failed
        self.names.update(example.globs)

    def shell(self, block: Block) -> None:
        for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, expected = step.partition("\n")
            if re.search(r"\bworker\b", command):
                self.start_worker(command)
                continue
            done = subprocess.run(
                command, shell=True, capture_output=True, text=True, timeout=60, check=False
            )
            shown = done.stdout + done.stderr
            pattern = "*" + glob(expected.strip()) + "*"
            if done.returncode or not fnmatch.fnmatchcase(shown, pattern):
                print(f"{self.page}:{block.line}: $ {command} (exit {done.returncode})\n{shown}")
                self.failures += 1

    def start_worker(self, command: str) -> None:
        self.end_worker()
        with Path("worker.log").open("ab") as log:
            self.worker = subprocess.Popen(
                shlex.split(command.removesuffix("&")), stdout=log, stderr=log
            )

    def end_worker(self) -> None:
        if self.worker is None:
            return
        self.worker.send_signal(signal.SIGTERM)
        try:
            code = self.worker.wait(60)
        except subprocess.TimeoutExpired:
            self.worker.kill()
            code = self.worker.wait()
        if code:
            print(f"{self.page}: the worker ended with {code}\n{Path('worker.log').read_text()}")
            self.failures += 1
        self.worker = None


def without_notes(kind: type[BaseException], error: BaseException) -> list[str]:
    """How an exception is shown, without its notes: some versions of doctest compare them."""
    shown = traceback.TracebackException(kind, error, None)
    shown.__notes__ = None
    return list(shown.format_exception_only())


def glob(expected: str) -> str:
    """The expected output as a pattern: only ``...`` is special."""
    return re.sub(r"([\[*?])", r"[\1]", expected).replace("...", "*")


if __name__ == "__main__":
    show = {**vars(traceback), "format_exception_only": without_notes}
    doctest.traceback = SimpleNamespace(**show)
    sys.path.insert(0, str(Path.cwd()))
    sys.exit(bool(Reader(Path(sys.argv[1])).read()))
