"""A server as a process of our own: started, stopped, killed, paused, and gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["ServerMissing", "ServerProcess", "required"]

_STOPS_WITHIN = 30.0


class ServerMissing(Exception):
    """A server is not installed here."""

    def __init__(self, server: str, program: str) -> None:
        self.server = server
        """Which one: ``redis``, ``rabbitmq``."""
        super().__init__(f"{program} is not installed (or not on PATH)")


def required(name: str) -> bool:
    """Whether ``UMBEL_REQUIRE`` (names, separated by commas) says that tests of ``name`` must run.

    On a laptop a missing server skips its tests; in continuous integration it fails them.
    """
    return name in os.environ.get("UMBEL_REQUIRE", "").replace(" ", "").split(",")


class ServerProcess(ABC):
    """A process with a folder of its own. Subclasses say how it is started, and when it answers.

    Args:
        name: The program's, for its folder and for errors.
        starts_within: Seconds.
    """

    def __init__(self, name: str, *, starts_within: float) -> None:
        self._name = name
        self._starts_within = starts_within
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix=f"umbel-{name}-"))

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers. Again after :meth:`stop` or :meth:`kill`: on the
        same port.

        Raises:
            RuntimeError: It ended, or did not answer in time; says what it logged.
        """
        output = self._folder / "output"
        with output.open("ab") as file:
            self._process = subprocess.Popen(  # noqa: S603 - our own command, without a shell
                self._command(),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        deadline = time.monotonic() + self._starts_within
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = output.read_text(errors="replace")[-4000:]
                self.stop()
                raise RuntimeError(f"{self._name} does not start; it said:\n{said}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it in order. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            process.wait(_STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it hang: connections stand, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def remove(self) -> None:
        """End it, at once, and delete its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """What starts it; what it needs is in its folder then."""

    def _environment(self) -> Mapping[str, str] | None:
        """All its variables; None: ours."""
        return None

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it serves by now."""
