"""The portal: synchronous callers drive one loop in turn."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import warnings
from collections.abc import Iterator

import pytest

from umbel.app.connecting.portal import Portal


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.close()


async def echo(value: int) -> int:
    return value


async def echo_later(value: int) -> int:
    for _ in range(value % 7):
        await asyncio.sleep(0)
    return value


def test_it_returns_what_the_coroutine_returns(portal: Portal) -> None:
    assert portal.call(echo, 3) == 3


def test_it_raises_what_the_coroutine_raises(portal: Portal) -> None:
    async def fail() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        portal.call(fail)


def test_all_calls_share_one_loop(portal: Portal) -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert portal.call(loop) is portal.call(loop)


def test_many_threads_each_get_their_own_answer(portal: Portal) -> None:
    wrong: list[int] = []

    def caller(start: int) -> None:
        wrong.extend(n for n in range(start, start + 200) if portal.call(echo_later, n) != n)

    threads = [threading.Thread(target=caller, args=(k * 1000,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


def test_a_caller_that_waits_long_does_not_hold_up_the_others(portal: Portal) -> None:
    released = threading.Event()

    async def wait_for_release() -> str:
        while not released.is_set():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.001)
        return "released"

    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(portal.call(wait_for_release)))
    slow.start()
    while not portal.opened:
        pass
    quick = [portal.call(echo, n) for n in range(5)]
    released.set()
    slow.join(60)

    assert quick == [0, 1, 2, 3, 4]
    assert answers == ["released"]


def test_who_leaves_hands_the_loop_to_who_still_waits(portal: Portal) -> None:
    entered, go_on = threading.Event(), threading.Event()
    answers: list[str] = []

    async def first() -> str:
        entered.set()
        # The moment we want: somebody has queued.
        while not portal._turns:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        return "first"

    async def second() -> str:
        while not go_on.is_set():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.001)
        return "second"

    one = threading.Thread(target=lambda: answers.append(portal.call(first)))
    one.start()
    entered.wait(60)
    two = threading.Thread(target=lambda: answers.append(portal.call(second)))
    two.start()
    one.join(60)
    go_on.set()
    two.join(60)

    assert answers == ["first", "second"]


async def test_it_works_and_closes_below_a_running_loop() -> None:
    portal = Portal()

    assert portal.call(echo, 5) == 5
    portal.close()

    assert not portal.opened
    assert portal.call(echo, 6) == 6
    portal.close()


def test_a_forked_child_has_a_loop_of_its_own(portal: Portal) -> None:
    portal.call(echo, 1)
    child = os.fork()
    if child == 0:
        os._exit(portal.call(echo, 42))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert portal.call(echo, 2) == 2


def test_an_interrupted_call_leaves_the_portal_usable(portal: Portal) -> None:
    async def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(60)

    # Who runs the tests in the background may have had it ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            portal.call(interrupt)
    finally:
        signal.signal(signal.SIGINT, before)

    assert portal.call(echo, 1) == 1


def test_a_coroutine_may_run_code_that_calls_again(portal: Portal) -> None:
    async def outer() -> int:
        return portal.call(echo, 1) + portal.call(echo_later, 9)

    assert portal.call(outer) == 10
    assert portal.call(outer) == 10


def test_what_is_dropped_without_being_closed_goes_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def begin() -> None:
        waiting = asyncio.get_running_loop().create_task(asyncio.Event().wait())
        # As a client's task is held by the client.
        waiting.add_done_callback(lambda _: waiting)
        await asyncio.sleep(0)

    gc.collect()
    caplog.clear()
    with warnings.catch_warnings():
        # Development mode says that the loop was not closed, and may.
        warnings.simplefilter("ignore", ResourceWarning)
        Portal().call(begin)
        gc.collect()

    assert not caplog.records


def test_what_fails_on_its_loop_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(0)

    portal = Portal()
    portal.call(fail)
    portal.close()

    assert "ZeroDivisionError" in caplog.text


def test_closing_cancels_what_other_threads_call(portal: Portal) -> None:
    entered = threading.Event()
    ends: list[str] = []

    async def listen() -> None:
        entered.set()
        await asyncio.sleep(600)

    def caller() -> None:
        try:
            portal.call(listen)
        except asyncio.CancelledError:
            ends.append("cancelled")

    threads = [threading.Thread(target=caller) for _ in range(4)]
    for number, thread in enumerate(threads, 1):
        entered.clear()
        thread.start()
        assert entered.wait(60), f"call {number} has not begun"

    portal.close()

    for thread in threads:
        thread.join(60)
    assert ends == ["cancelled"] * 4
    assert portal.call(echo, 1) == 1
