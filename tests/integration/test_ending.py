"""How worker processes end: signals of the OS, alone and in storms."""

from __future__ import annotations

import random
import re
import signal
import sys
import time
from collections.abc import Callable

import pytest

from umbel.exceptions import WorkerLostError

from .site import EARLY_AND_LATE, Site

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def site(make_site: Callable[[str, str], Site]) -> Site:
    return make_site("sqlite", EARLY_AND_LATE)


def test_a_soft_shutdown_lets_what_is_short_finish_and_gives_the_rest_back(site: Site) -> None:
    process = site.ready("-c", "2", "soft_shutdown_timeout=3")
    short = site.app.send_task("late", (1, 0.3))
    long = site.app.send_task("late", (2, 6.0))
    site.until(lambda: len(site.started()) == 2, "both have started")

    asked = time.monotonic()
    assert site.end(process, signal.SIGQUIT) == 1
    assert time.monotonic() - asked > 1
    assert "Initiating Soft Shutdown, terminating in 3.0 seconds" in site.log.read_text()
    assert short.get(timeout=60) == 1

    process = site.ready("-c", "2")
    assert long.get(timeout=60) == 2
    assert sorted(site.started()) == [1, 2, 2]
    assert site.end(process, signal.SIGTERM) == 0


def test_a_second_quit_waits_no_longer(site: Site) -> None:
    process = site.ready("-c", "1", "soft_shutdown_timeout=60")
    early = site.app.send_task("early", (1, 60.0))
    site.until(lambda: bool(site.started()), "the task has started")

    process.send_signal(signal.SIGQUIT)
    site.until(lambda: "Initiating Soft" in site.log.read_text(), "it has heard")
    assert site.end(process, signal.SIGQUIT) == 1
    assert "Waiting gracefully for cold shutdown to complete..." in site.log.read_text()
    with pytest.raises(WorkerLostError):
        early.get(timeout=60)


def test_an_idle_worker_waits_softly_only_where_it_is_told_to(site: Site) -> None:
    process = site.ready("-c", "1", "soft_shutdown_timeout=60")
    assert site.end(process, signal.SIGQUIT) == 1

    process = site.ready("-c", "1", "soft_shutdown_timeout=1", "enable_soft_shutdown_on_idle=true")
    asked = time.monotonic()
    assert site.end(process, signal.SIGQUIT) == 1
    assert time.monotonic() - asked >= 1


def test_term_is_cold_where_the_environment_says_so(site: Site) -> None:
    process = site.ready("-c", "1", REMAP_SIGTERM="SIGQUIT")
    late = site.app.send_task("late", (1, 2.0))
    site.until(lambda: bool(site.started()), "the task has started")

    assert site.end(process, signal.SIGTERM) == 1
    assert "worker: Cold shutdown (MainProcess)" in site.log.read_text()

    process = site.ready("-c", "1")
    assert late.get(timeout=60) == 1
    assert site.end(process, signal.SIGTERM) == 0


def test_hang_up_lets_what_runs_finish_and_starts_a_new_worker_in_the_same_process(
    site: Site,
) -> None:
    process = site.ready("-c", "1", "--pidfile", "worker.pid")
    running = site.app.send_task("early", (1, 1.0))
    site.until(lambda: bool(site.started()), "the task has started")

    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    site.until(lambda: site.log.read_text().count(" ready.") == 2, "a new one is ready")

    assert running.get(timeout=60) == 1
    assert site.app.send_task("early", (2,)).get(timeout=60) == 2
    assert int((site.folder / "worker.pid").read_text()) == process.pid
    assert re.search(
        r"Restarting umbel worker \(.* -c 1 --pidfile worker.pid\)", site.log.read_text()
    )
    assert site.end(process, signal.SIGTERM) == 0
    assert not (site.folder / "worker.pid").exists()


@pytest.mark.parametrize("twice", [False, True], ids=["quit", "int twice"])
def test_a_task_in_the_solo_pool_is_ended_by_a_cold_shutdown(site: Site, twice: bool) -> None:
    # The task holds the worker's own thread: only the handlers of signals run.
    process = site.ready("-P", "solo")
    early = site.app.send_task("early", (1, 600.0))
    site.until(lambda: bool(site.started()), "the task has started")
    waiting = site.app.send_task("early", (2,))

    if twice:
        process.send_signal(signal.SIGINT)
        site.until(lambda: "Hitting Ctrl+C again will initiate" in site.log.read_text(), "heard")
    assert site.end(process, signal.SIGINT if twice else signal.SIGQUIT) == 1
    assert "worker: Cold shutdown (MainProcess)" in site.log.read_text()
    assert site.log.read_text().count("will initiate cold shutdown") == twice
    assert site.started() == [1]
    with pytest.raises(WorkerLostError):
        early.get(timeout=60)

    process = site.ready("-P", "solo")
    assert waiting.get(timeout=60) == 2
    assert site.end(process, signal.SIGTERM) == 0


def test_a_late_task_in_the_solo_pool_goes_back_to_its_queue(site: Site) -> None:
    process = site.ready("-P", "solo")
    site.app.send_task("late", (1, 600.0))
    site.until(lambda: bool(site.started()), "the task has started")
    assert site.end(process, signal.SIGQUIT) == 1

    process = site.ready("-P", "solo")
    site.until(lambda: site.started() == [1, 1], "it has started again")
    assert site.end(process, signal.SIGQUIT) == 1


def test_the_solo_pool_begins_nothing_more_once_it_was_asked_to_end(site: Site) -> None:
    process = site.ready("-P", "solo")
    running = site.app.send_task("early", (1, 2.0))
    waiting = [site.app.send_task("early", (number,)) for number in range(2, 22)]
    site.until(lambda: bool(site.started()), "the task has started")

    assert site.end(process, signal.SIGTERM) == 0
    assert running.get(timeout=60) == 1
    assert site.started() == [1]

    process = site.ready("-P", "solo")
    assert [result.get(timeout=60) for result in waiting] == list(range(2, 22))
    assert site.end(process, signal.SIGTERM) == 0


def test_a_soft_shutdown_gives_a_task_in_the_solo_pool_its_seconds(site: Site) -> None:
    process = site.ready("-P", "solo", "soft_shutdown_timeout=30")
    short = site.app.send_task("late", (1, 2.0))
    site.until(lambda: len(site.started()) == 1, "it has started")
    assert site.end(process, signal.SIGQUIT) == 1
    assert short.get(timeout=60) == 1

    process = site.ready("-P", "solo", "soft_shutdown_timeout=1")
    long = site.app.send_task("early", (2, 600.0))
    site.until(lambda: len(site.started()) == 2, "it has started")
    assert site.end(process, signal.SIGQUIT) == 1
    with pytest.raises(WorkerLostError):
        long.get(timeout=60)


def test_a_second_quit_ends_what_runs_in_the_solo_pool_at_once(site: Site) -> None:
    process = site.ready("-P", "solo", "soft_shutdown_timeout=600")
    long = site.app.send_task("early", (1, 600.0))
    site.until(lambda: bool(site.started()), "it has started")
    process.send_signal(signal.SIGQUIT)
    # Nothing says that it has heard. Two that are pending at once are one.
    time.sleep(1)
    assert site.end(process, signal.SIGQUIT) == 1
    with pytest.raises(WorkerLostError):
        long.get(timeout=60)


def test_usr1_shows_what_it_is_doing_and_ends_nothing(site: Site) -> None:
    process = site.ready("-c", "1")
    running = site.app.send_task("early", (1, 1.5))
    site.until(lambda: bool(site.started()), "the task has started")

    process.send_signal(signal.SIGUSR1)
    site.until(lambda: "running tasks" in site.log.read_text(), "it has been written")

    log = site.log.read_text()
    assert "MainThread" in log
    assert "coroutine umbel-receive" in log
    assert re.search(rf"early\[{running.id}\] pid:\d+ for", log)
    assert running.get(timeout=60) == 1
    assert site.end(process, signal.SIGTERM) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_storm_of_signals_neither_hangs_nor_loses(site: Site, seed: int) -> None:
    chance = random.Random(seed)
    process = site.ready("-c", "2")
    results = [site.app.send_task("late", (number, 0.02)) for number in range(60)]
    site.until(lambda: len(site.started()) > 3, "some have started")

    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGQUIT, signal.SIGTERM]
    for _ in range(40):
        process.send_signal(chance.choice(numbers))
        time.sleep(chance.random() * 0.02)
        if process.poll() is not None:
            break
    assert process.wait(30) in {0, 1}

    process = site.ready("-c", "2")
    assert [result.get(timeout=60) for result in results] == list(range(60))
    assert site.end(process, signal.SIGTERM) == 0
