"""Interpreters without Celery: what the alias is for."""

from __future__ import annotations

import os
import site
import subprocess
import time
import venv
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATIENCE = 60.0
"""Seconds that anything may take here."""

_GONE = ("celery", "kombu", "billiard", "vine", "amqp", "flower", "django_celery", "pytest_celery")


class BareInterpreter:
    """A virtual environment with all that this one has, except Celery and what is Celery's.

    Args:
        folder: Empty; where it is made.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=os.name != "nt", with_pip=False)
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        self.packages = next(folder.glob("[Ll]ib/**/site-packages"))
        for held in map(Path, site.getsitepackages()):
            for entry in held.iterdir():
                if not entry.name.startswith((*_GONE, "_virtualenv", "_editable_impl", "__")):
                    (self.packages / entry.name).symlink_to(entry)
        (self.packages / "umbel").symlink_to(ROOT / "umbel")

    def start(
        self,
        *arguments: str | Path,
        cwd: Path,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program.

        Args:
            log: The file for what it prints; None: it can be read from the process.
        """
        with ExitStack() as opened:
            output = subprocess.PIPE if log is None else opened.enter_context(log.open("w"))
            return subprocess.Popen(
                [self.python, *arguments],
                cwd=cwd,
                env={**self._environment(), **(env or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def run(self, *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
        """What a program prints.

        Raises:
            AssertionError: It failed; says what it printed.
        """
        process = self.start(*arguments, cwd=cwd, env=env)
        try:
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 0, output
        return output

    @staticmethod
    def _environment() -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("UMBEL", "CELERY", "PYTHONPATH"))
        }
        return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "C_FORCE_ROOT": "1"}


class Project:
    """A program written for Celery: its workers and clients, under the alias.

    Args:
        env: Environment variables, beside those of the tests.
    """

    def __init__(self, folder: Path, bare: BareInterpreter, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.log = folder / "worker.log"
        self.bare = bare
        self.env = env

    @contextmanager
    def worker(self, *arguments: str, ends: bool = True) -> Iterator[None]:
        """A worker, until the end of the block; it has to end well, or is killed."""
        command = ("-m", "umbel", "--as-celery", *arguments)
        process = self.bare.start(*command, cwd=self.folder, log=self.log, env=self.env)
        try:
            self.wait_for("ready.", process)
            yield
            if ends:
                process.terminate()
                assert process.wait(PATIENCE) == 0, self.log.read_text()
        finally:
            process.kill()
            process.wait()

    def wait_for(self, text: str, process: subprocess.Popen[str] | None = None) -> None:
        """Until the worker's log has the text."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.log.read_text():
            assert process is None or process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def client(self, program: str) -> str:
        """What a program prints."""
        program = "import umbel\numbel.install_as_celery()\n" + program
        return self.bare.run("-c", program, cwd=self.folder, env=self.env)

    def run(self, *arguments: str | Path) -> str:
        """What a program prints that installs the alias itself."""
        return self.bare.run(*arguments, cwd=self.folder, env=self.env)
