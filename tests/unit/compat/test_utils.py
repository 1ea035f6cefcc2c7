"""What of ``celery.utils`` is not told by lines that have an outcome; see ``same/utils.txt``."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.compat.peer import StandIn
from umbel.utils import sysinfo


def test_a_process_that_blocks_is_stopped_where_it_is() -> None:
    debug = StandIn("celery.utils.debug")
    handler = signal.getsignal(signal.SIGALRM)

    def block() -> None:
        with debug.blockdetection(0.05):
            while True:
                pass

    with pytest.raises(RuntimeError, match="test_utils"):
        block()
    with debug.blockdetection(60), debug.blockdetection(0):
        pass

    assert signal.getsignal(signal.SIGALRM) == handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_every_thread_is_shown_with_what_it_knows() -> None:
    cry = StandIn("celery.utils.debug").cry
    ends: list[bool] = []
    told = threading.Event()

    def wait() -> None:
        marker = "a local value"
        told.set()
        while not ends:
            time.sleep(0.001)
        del marker

    thread = threading.Thread(target=wait, name="the other")
    thread.start()
    told.wait(60)
    text = cry()
    ends.append(True)
    thread.join()

    assert "the other" in text
    assert "test_every_thread_is_shown" in text
    assert "'marker': 'a local value'" in text


def test_memory_is_sampled_and_dumped() -> None:
    debug = StandIn("celery.utils.debug")
    written = io.StringIO()

    sampled = debug.sample_mem()
    debug.memdump(file=written)

    if sampled is None:
        assert "psutil" in written.getvalue()
    else:
        assert f"> {sampled}," in written.getvalue()


def test_a_background_thread_works_until_it_is_stopped() -> None:
    done = threading.Event()

    class Beating(StandIn("celery.utils.threads").bgThread):  # type: ignore[misc]
        def body(self) -> None:
            done.set()
            time.sleep(0.001)

    thread = Beating("beats")
    thread.start()
    assert done.wait(30)
    thread.stop()

    assert (thread.is_alive(), thread.name) == (False, "beats")


def test_a_timer_calls_in_order_again_and_never_what_was_cancelled() -> None:
    timer = StandIn("celery.utils.timer2").Timer()
    called: list[str] = []
    thrice = threading.Event()

    def again() -> None:
        called.append("again")
        if called.count("again") == 3:
            thrice.set()

    timer.call_after(60, called.append, ("far",))
    timer.cancel(timer.call_after(0.01, called.append, ("cancelled",)))
    timer.call_at(datetime.now(UTC), called.append, ("now",))
    entry = timer.call_repeatedly(0.01, again)
    assert thrice.wait(30)
    entry.cancel()
    timer.stop()

    assert called[:4] == ["now", "again", "again", "again"]
    assert not timer.is_alive()
    assert "far" in str(timer.queue)


def test_the_log_goes_to_standard_error_while_a_signal_is_handled(
    capfd: pytest.CaptureFixture[str],
) -> None:
    log = StandIn("celery.utils.log")
    proxy = log.LoggingProxy(log.get_logger("umbel.tests.signals"))

    with log.in_sighandler():
        proxy.write("from a signal")

    assert capfd.readouterr().err == "from a signal"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"own": "0::/\n", "cpu.max": "150000 100000\n"}, 1.5),
        ({"own": "0::/a/b\n", "a/cpu.max": "50000 100000\n", "a/b/cpu.max": "max 100000\n"}, 0.5),
        ({"own": "0::/../..\n", "cpu.max": "max 100000\n"}, None),
        (
            {
                "own": "3:cpu,cpuacct:/x\n",
                "cpu,cpuacct/x/cpu.cfs_quota_us": "200000\n",
                "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
                "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2.0,
        ),
    ],
)
def test_the_quota_is_the_least_of_the_groups_above_as_in_celery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], quota: float | None
) -> None:
    from celery.utils import sysinfo as peer

    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    for module in (sysinfo, peer):
        monkeypatch.setattr(module, "CGROUP_ROOT", str(tmp_path))
        monkeypatch.setattr(module, "PROC_SELF_CGROUP", str(tmp_path / "own"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    assert sysinfo.cgroup_cpu_quota() == peer.cgroup_cpu_quota() == quota
    assert tuple(sysinfo.cpu_budget()) == tuple(peer.cpu_budget())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_what_is_registered_is_called_in_a_forked_process_while_it_is_there() -> None:
    program = """
import os
from umbel.compat.utils.functional import register_after_fork
class Pool:
    def reset(self): print("reset", self is pool, flush=True)
pool, gone = Pool(), Pool()
register_after_fork(pool, Pool.reset)
register_after_fork(gone, Pool.reset)
del gone
if os.fork() == 0:
    os._exit(0)
os.wait()
"""
    printed = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    ).stdout

    assert printed == "reset True\n"
