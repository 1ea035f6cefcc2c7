from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from umbel.worker.deputy.duty import is_stopped

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait(60)


def until_it_is(stopped: bool, pid: int) -> None:
    deadline = time.monotonic() + 60
    while is_stopped(pid) is not stopped:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("place", ["/proc", "ps"])
def test_a_process_is_stopped_between_two_signals_and_when_it_has_ended(
    sleeper: subprocess.Popen[bytes], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "ps":
        # As on systems without /proc.
        def missing(*_: object) -> None:
            raise FileNotFoundError

        monkeypatch.setattr("builtins.open", missing)
    until_it_is(False, sleeper.pid)

    sleeper.send_signal(signal.SIGSTOP)
    until_it_is(True, sleeper.pid)
    sleeper.send_signal(signal.SIGCONT)
    until_it_is(False, sleeper.pid)

    sleeper.kill()
    until_it_is(True, sleeper.pid)
    sleeper.wait(60)
    assert is_stopped(sleeper.pid)
