"""The clock that processes on one file agree upon: what sets it, and what does not."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from umbel.clock import ManualClock, SystemClock
from umbel.drivers.sqlite.broker import SQLiteBroker
from umbel.drivers.sqlite.fanout import SQLiteFanout
from umbel.model import Exchange, Message, Queue
from umbel.testing.conformance.messages import ids, message, messages, take

Make = Callable[[ManualClock], Awaitable[SQLiteBroker]]
NEWS = Exchange("news", "fanout")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "umbel.db"


@pytest.fixture
async def make(path: Path) -> AsyncIterator[Make]:
    """Brokers on one file, each on a machine of its own: the same one, started anew."""
    made: list[SQLiteBroker] = []

    async def make(clock: ManualClock) -> SQLiteBroker:
        made.append(SQLiteBroker(path, clock=clock, lease=20))
        await made[-1].open()
        return made[-1]

    yield make
    for broker in made:
        await broker.close()


async def up_since(seconds: float) -> ManualClock:
    """The clock of a machine that was started so long ago."""
    clock = ManualClock()
    await clock.advance(seconds)
    return clock


async def test_a_machine_that_is_started_anew_has_ended_all_leases(make: Make) -> None:
    before = await make(await up_since(86_400))
    await before.publish(messages(3))
    taken = await take(before, 3)
    await before.begin(taken[:1])
    await before.extend(taken[:2], lease=3600)

    after = await make(await up_since(30))

    assert (await after.stats(["q"]))["q"].ready == 3
    found = await after.receive(["q"], limit=9, wait=0)
    assert sorted(ids(found)) == sorted(ids(taken))
    assert {each.message.id: each.begun for each in found} == {
        each.message.id: each is taken[0] for each in taken
    }
    assert {(each.redelivered, each.attempt) for each in found} == {(True, 2)}
    assert await before.ack(taken) == taken


@pytest.mark.parametrize("late", [0.0, 5.0, 19.9])
async def test_a_lease_from_before_a_start_never_lasts_longer_than_a_lease(
    make: Make, late: float
) -> None:
    before = await make(await up_since(100))
    await before.publish([message("a")])
    await take(before, 1)

    # As unlucky as can be: the machine has been up for as long as it had been then.
    clock = await up_since(100 + late)
    after = await make(clock)

    assert await after.receive(["q"], limit=1, wait=0) == []
    await clock.advance(20 - late)
    assert ids(await take(after, 1)) == ["a"]


async def test_who_opens_the_file_ends_nobodys_lease_on_the_same_machine(make: Make) -> None:
    clock = await up_since(100)
    one = await make(clock)
    await one.publish([message("a")])
    await take(one, 1)

    other = await make(clock)

    assert await other.receive(["q"], limit=1, wait=0) == []


async def test_who_led_before_a_start_leads_no_more(make: Make) -> None:
    before = await make(await up_since(86_400))
    first = await before.schedules.lead("before", lease=30)

    second = await (await make(await up_since(10))).schedules.lead("after", lease=30)

    assert (first.leader, second.leader) == ("before", "after")
    assert second.term > first.term


async def test_who_waits_is_woken_when_a_lease_ends_though_the_clock_was_set_back(
    make: Make,
) -> None:
    clock = ManualClock()
    one, other = await make(clock), await make(clock)
    await one.publish([message("a")])
    await take(one, 1)
    clock.set(clock.now() - timedelta(days=1))
    receiving = asyncio.create_task(other.receive(["q"], limit=1, wait=3600))

    async with asyncio.timeout(60):
        while not receiving.done():
            await clock.advance(1)
            await asyncio.sleep(0.01)

    assert ids(receiving.result()) == ["a"]
    assert clock.monotonic() < 60


@pytest.mark.parametrize("days", [400, -400])
async def test_listeners_are_heard_whoever_sets_the_clock(path: Path, days: int) -> None:
    clock = ManualClock()
    fanout = SQLiteFanout(path, clock=clock)
    await fanout.open()
    said = Message(id="", body=b"hello", exchange="news", routing_key="")
    async with fanout.listen([Queue("ear", exchange=NEWS)]) as stream:
        clock.set(clock.now() + timedelta(days=days))

        assert await fanout.broadcast(NEWS, [said]) == 1

        async with asyncio.timeout(30):
            assert [each.body for each in await anext(stream)] == [b"hello"]
    await fanout.close()


async def test_listeners_from_before_a_start_are_not_waited_for(path: Path) -> None:
    said = Message(id="", body=b"hello", exchange="news", routing_key="")
    dead = SQLiteFanout(path, clock=await up_since(86_400))
    await dead.open()
    async with dead.listen([Queue("ear", exchange=NEWS)]):
        after = SQLiteFanout(path, clock=await up_since(10))
        await after.open()

        assert await after.broadcast(NEWS, [said]) == 0

        await after.close()
    await dead.close()


def elsewhere(*command: str) -> subprocess.CompletedProcess[str]:
    """Run it in a time namespace whose clocks are an hour and a half ahead."""
    unshare = shutil.which("unshare") or pytest.skip("no unshare")
    return subprocess.run(
        [unshare, "--time", "--monotonic", "5400", "--boottime", "5400", "--fork", *command],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_a_container_with_a_time_of_its_own_agrees_with_everybody_else() -> None:
    if elsewhere("true").returncode:
        pytest.skip("namespaces cannot be made here")
    before = SystemClock().uptime()

    told = elsewhere(
        sys.executable,
        "-c",
        "import time; from umbel.clock import SystemClock; "
        "print(time.monotonic(), SystemClock().uptime())",
    )

    assert told.stderr == ""
    shifted, uptime = map(float, told.stdout.split())
    assert before <= uptime <= SystemClock().uptime()
    assert shifted - uptime == pytest.approx(5400, abs=1)
