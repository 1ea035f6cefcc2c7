"""Ending: who asked for it, and how urgently."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from umbel.clock import ManualClock
from umbel.worker.shutdown import Shutdown

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class Told(list[tuple[str, str]]):
    def __call__(self, how: str, reason: str, exit_code: int) -> None:
        self.append((how, reason))


async def after(*sent: signal.Signals) -> tuple[Told, Shutdown]:
    """What was heard after these signals of the OS."""
    told = Told()
    shutdown = Shutdown(told, say=lambda _: None, clock=ManualClock())
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    shutdown.listen(loop)
    try:
        for number in sent:
            os.kill(os.getpid(), number)
            # One turn for the wake-up, one for the handler.
            for _ in range(3):
                await asyncio.sleep(0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return told, shutdown


async def test_term_asks_for_a_warm_shutdown() -> None:
    told, shutdown = await after(signal.SIGTERM)

    assert told == [("warm", "SIGTERM")]
    assert not shutdown.is_cold
    assert shutdown.exit_code == 0
    await shutdown.asked()


async def test_term_again_makes_it_no_more_urgent() -> None:
    told, shutdown = await after(signal.SIGTERM, signal.SIGTERM)

    assert told == [("warm", "SIGTERM")]
    assert not shutdown.is_cold


async def test_a_second_interrupt_makes_it_cold() -> None:
    told, shutdown = await after(signal.SIGINT, signal.SIGINT, signal.SIGINT)

    assert told == [("warm", "SIGINT"), ("cold", "SIGINT")]
    assert shutdown.is_cold
    await shutdown.hurried()


async def test_an_interrupted_worker_ends_warm_and_says_that_it_was_interrupted() -> None:
    told, shutdown = await after(signal.SIGINT)

    assert told == [("warm", "SIGINT")]
    assert shutdown.exit_code == 1


async def test_quit_is_cold_at_once_and_stays_so() -> None:
    told, shutdown = await after(signal.SIGQUIT, signal.SIGTERM)

    assert told == [("cold", "SIGQUIT")]
    await shutdown.asked()
    await shutdown.cold()


async def test_term_is_as_urgent_as_quit_where_the_environment_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REMAP_SIGTERM", "SIGQUIT")

    told, _ = await after(signal.SIGTERM)

    assert told == [("cold", "SIGTERM")]


async def test_a_hang_up_ends_warm_and_restarts_unless_more_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    told, shutdown = await after(signal.SIGHUP, signal.SIGHUP)

    assert told == [("warm", "SIGHUP")]
    assert (shutdown.restarts, shutdown.exit_code) == (True, 0)

    _, shutdown = await after(signal.SIGHUP, signal.SIGQUIT)
    assert (shutdown.restarts, shutdown.exit_code) == (False, 1)


async def test_a_hang_up_during_a_shutdown_restarts_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    _, shutdown = await after(signal.SIGTERM, signal.SIGHUP)

    assert not shutdown.restarts


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 0), (signal.SIGINT, 1)], ids=["term", "int"]
)
async def test_who_asks_for_the_end_of_a_worker_that_is_to_restart_gets_it(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, exit_code: int
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    told, shutdown = await after(signal.SIGHUP, number)

    assert told == [("warm", "SIGHUP"), ("warm", number.name)]
    assert (shutdown.restarts, shutdown.exit_code) == (False, exit_code)
    assert not shutdown.is_cold


async def test_a_storm_of_signals_is_a_cold_shutdown() -> None:
    told, shutdown = await after(*(SIGNALS * 20))

    assert {how for how, _ in told} == {"warm", "cold"}
    assert len(told) == 2
    assert (shutdown.is_cold, shutdown.exit_code) == (True, 1)
