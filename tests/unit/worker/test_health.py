"""How a worker says how it is: over HTTP, to systemd, and to itself."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from umbel import Umbel
from umbel.clock import ManualClock
from umbel.exceptions import BrokerUnavailable, ImproperlyConfigured
from umbel.worker import Worker
from umbel.worker.health.http import Health, serving
from umbel.worker.health.pulse import Pulse
from umbel.worker.health.systemd import Systemd
from umbel.worker.health.vitals import Vitals
from umbel.worker.health.watchdog import Watchdog
from umbel.worker.options import resolve


async def asked(port: int, request: bytes) -> tuple[int, dict[str, object] | None]:
    """Status and body of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body else None


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def test_it_answers_whether_it_lives_and_whether_it_works() -> None:
    status = "ok"

    def health() -> Health:
        return Health(status, "a@b", 1, 2)

    async with serving(
        "127.0.0.1", 0, live=lambda: Health("ok", "a@b", 1, 2), ready=health
    ) as port:
        expected = {"status": "ok", "hostname": "a@b", "active": 1, "settled": 2}
        assert await asked(port, get("/livez")) == (200, expected)
        assert await asked(port, get("/readyz?verbose")) == (200, expected)
        status = "starting"
        assert await asked(port, get("/readyz")) == (503, {**expected, "status": "starting"})
        assert await asked(port, b"HEAD /livez HTTP/1.0\r\n\r\n") == (200, None)
        assert await asked(port, get("/secrets")) == (404, None)
        assert await asked(port, b"POST /livez HTTP/1.1\r\n\r\n") == (405, None)


async def test_it_survives_those_who_ask_badly() -> None:
    def health() -> Health:
        return Health("ok", "a@b", 0, 0)

    async with serving("127.0.0.1", 0, live=health, ready=health) as port:
        for nonsense in (b"\r\n\r\n", b"\xff\xfe \r\n\r\n", b"x" * 100_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(nonsense)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)
            writer.close()

        assert (await asked(port, get("/livez")))[0] == 200


async def test_a_port_that_is_taken_is_named() -> None:
    def health() -> Health:
        return Health("ok", "a@b", 0, 0)

    async with serving("127.0.0.1", 0, live=health, ready=health) as port:
        with pytest.raises(ImproperlyConfigured, match=f"cannot listen on 127.0.0.1:{port}"):
            async with serving("127.0.0.1", port, live=health, ready=health):
                pass


async def test_a_worker_is_ready_while_the_broker_answers() -> None:
    clock = ManualClock()
    pulse = Pulse(clock)
    assert pulse.complaint == "starting"
    pulse.start()
    pulse.asking(5)
    await clock.advance(14)
    assert pulse.complaint is None
    await clock.advance(2)
    assert pulse.complaint == "the broker has not answered for 16 seconds"
    pulse.answered(0)
    # Busy with what it has: it does not ask.
    await clock.advance(1000)
    assert pulse.complaint is None
    pulse.end()
    assert pulse.complaint == "ending"


@pytest.mark.skipif(sys.platform == "win32", reason="sockets of Unix")
@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_what_it_is_told(tmp_path: Path, abstract: bool) -> None:
    if abstract and sys.platform != "linux":
        pytest.skip("names that are no files")
    name = f"@umbel-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1))
        listener.settimeout(60)
        environment = {
            "NOTIFY_SOCKET": name,
            "WATCHDOG_USEC": "3000000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        systemd = Systemd(environment)
        systemd.tell("READY=1", "STATUS=fine")

        assert listener.recv(100) == b"READY=1\nSTATUS=fine"
        assert systemd.watchdog == 3
        assert Systemd({**environment, "WATCHDOG_PID": "1"}).watchdog is None


def test_without_systemd_nobody_is_told() -> None:
    systemd = Systemd({})
    systemd.tell("READY=1")

    assert not systemd.listens
    assert systemd.watchdog is None


async def test_the_file_says_at_once_that_it_works_and_that_it_ends(tmp_path: Path) -> None:
    # A clock that stands still: the next beat is never due.
    clock, file = ManualClock(), tmp_path / "alive"
    app = Umbel("shop", broker="memory://", set_as_current=False)
    options = resolve({"heartbeat_file": str(file)}, app.conf)
    pulse = Pulse(clock)
    vitals = Vitals(options, pulse, Worker(app).state, clock=clock, systemd=Systemd({}))

    async def until_it_says(text: str) -> None:
        async with asyncio.timeout(30):
            while not file.exists() or file.read_text() != text:  # noqa: ASYNC110 - it is a file
                await asyncio.sleep(0.001)

    async with vitals.shown():
        await until_it_says("starting\n")
        vitals.ready()
        await until_it_says("ready\n")
        vitals.ending("warm", restarts=False)
        await until_it_says("ending\n")
    assert not file.exists()


class Kennel:
    """A watchdog, and what it does."""

    def __init__(self, waiting: Callable[[], Awaitable[int]]) -> None:
        self.clock = ManualClock()
        self.pulse = Pulse(self.clock)
        self.deeds: list[str] = []
        self.watchdog = Watchdog(
            self.pulse,
            seconds=60,
            waiting=waiting,
            rebuild=self.rebuild,
            give_up=lambda: self.deeds.append("give up"),
            clock=self.clock,
        )
        self.pulse.start()
        self.pulse.asking(5)

    async def rebuild(self) -> None:
        self.deeds.append("rebuild")

    async def after(self, seconds: float, *, comes: int = 0) -> list[str]:
        """What it has done after so long, in steps of a receive that gives so much."""
        task = asyncio.create_task(self.watchdog.watch(asyncio.Event()))
        for _ in range(int(seconds / 5)):
            await self.clock.advance(5)
            self.pulse.answered(comes)
            self.pulse.asking(5)
        task.cancel()
        await asyncio.wait([task])
        return self.deeds


def gives(*counts: int) -> Callable[[], Awaitable[int]]:
    """Says these numbers, and then the last one for ever."""
    left = list(counts)

    async def waiting() -> int:
        return left.pop(0) if len(left) > 1 else left[0]

    return waiting


async def test_when_nothing_comes_it_connects_anew_and_then_gives_up() -> None:
    assert await Kennel(gives(3)).after(55) == []
    assert await Kennel(gives(3)).after(100) == ["rebuild"]
    assert await Kennel(gives(3)).after(300) == ["rebuild", "give up"]


async def test_an_empty_queue_is_no_reason() -> None:
    assert await Kennel(gives(0)).after(600) == []


async def test_messages_that_others_take_are_no_reason() -> None:
    assert await Kennel(gives(*range(1000, 0, -1))).after(600) == []


async def test_messages_that_come_are_no_reason() -> None:
    assert await Kennel(gives(5)).after(600, comes=1) == []


async def test_a_broker_that_is_away_is_no_reason() -> None:
    async def waiting() -> int:
        raise BrokerUnavailable("away")

    assert await Kennel(waiting).after(600) == []
