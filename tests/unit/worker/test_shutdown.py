"""Ending: who asked for it, and how urgently."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from umbel.worker.shutdown import Shutdown

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)


class Told(list[tuple[str, str]]):
    def __call__(self, how: str, reason: str) -> None:
        self.append((how, reason))


async def after(*sent: signal.Signals) -> tuple[Told, Shutdown]:
    """What was heard after these signals of the OS."""
    told = Told()
    shutdown = Shutdown(told)
    loop = asyncio.get_running_loop()
    shutdown.listen(loop)
    try:
        for number in sent:
            os.kill(os.getpid(), number)
            # One turn for the wake-up, one for the handler.
            for _ in range(3):
                await asyncio.sleep(0)
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
    return told, shutdown


async def test_term_asks_for_a_warm_shutdown() -> None:
    told, shutdown = await after(signal.SIGTERM)

    assert told == [("warm", "SIGTERM")]
    assert not shutdown.is_cold
    await shutdown.asked()


async def test_term_again_makes_it_no_more_urgent() -> None:
    told, shutdown = await after(signal.SIGTERM, signal.SIGTERM)

    assert told == [("warm", "SIGTERM")]
    assert not shutdown.is_cold


async def test_a_second_interrupt_makes_it_cold() -> None:
    told, shutdown = await after(signal.SIGINT, signal.SIGINT, signal.SIGINT)

    assert told == [("warm", "SIGINT"), ("cold", "SIGINT")]
    assert shutdown.is_cold


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


async def test_other_signals_end_nothing() -> None:
    told, _ = await after(signal.SIGHUP, signal.SIGUSR1)

    assert told == []
