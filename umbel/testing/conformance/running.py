"""What the contract of pools has them run, and how it feeds them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from umbel.exceptions import SoftTimeLimitExceeded, TaskCancelled
from umbel.model import Failed, Message, Outcome, Request, ResultRecord, Revoked, Succeeded
from umbel.protocols import Interrupts, Pool, Runner, Running

__all__ = [
    "PATIENCE",
    "POLL",
    "ContractRunner",
    "Gate",
    "MakePool",
    "begun",
    "collect",
    "feed",
    "request",
]

POLL = 0.002
"""Seconds between two looks at what tells no event."""
PATIENCE = 60.0
"""Seconds until a test gives up."""


class MakePool(Protocol):
    """Makes a pool that is prepared and started; the fixture stops it when the test is over."""

    async def __call__(self, make_runner: Callable[[], Runner], *, size: int = 1) -> Pool: ...


def request(
    key: int,
    task: str = "echo",
    body: bytes = b"",
    *,
    soft: float | None = None,
    hard: float | None = None,
) -> Request:
    """A request that :class:`ContractRunner` understands, with its time limits."""
    id_ = f"id-{key}"
    return Request(
        key=key,
        id=id_,
        task=task,
        message=Message(id=id_, body=body),
        soft_time_limit=soft,
        time_limit=hard,
    )


async def collect(pool: Pool, count: int) -> dict[int, Outcome]:
    """Wait for ``count`` outcomes, by key; fails when one comes twice."""
    found: dict[int, Outcome] = {}
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            for outcome in await pool.outcomes():
                assert outcome.key not in found, f"a second outcome: {outcome!r}"
                found[outcome.key] = outcome
    return found


async def feed(pool: Pool, requests: Sequence[Request]) -> dict[int, Outcome]:
    """Submit as there is room, until everything has an outcome."""
    waiting = list(requests)
    found: dict[int, Outcome] = {}
    # There may be room again without an outcome: requests can come back.
    changed = asyncio.Event()
    pool.watch(changed.set)

    async def submit() -> None:
        while waiting:
            changed.clear()
            if room := pool.free:
                now = waiting[:room]
                del waiting[:room]
                await pool.submit(now)
            else:
                await changed.wait()

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(submit())
        while len(found) < len(requests):
            for outcome in await pool.outcomes():
                assert outcome.key not in found, f"a second outcome: {outcome!r}"
                found[outcome.key] = outcome
            changed.set()
    return found


async def begun(pool: Pool, count: int = 1) -> list[Running]:
    """What runs, once the pool has heard that so many do: where tasks run in other processes, they
    may do something before their parent knows that they have begun."""
    async with asyncio.timeout(PATIENCE):
        while len(found := pool.running()) < count:  # noqa: ASYNC110 - tells no event
            await asyncio.sleep(POLL)
    return found


class Unencodable:
    """Nothing can write it."""


class ContractRunner:
    """Does what a request's task name says.

    =============  ==========================================================================
    ``echo``       succeeds with the body
    ``loop``       succeeds with the body, by a coroutine that it runs on a loop of its own
    ``large``      succeeds with as many bytes as the body says
    ``raise``      raises, as a runner never should
    ``exit``       raises ``SystemExit``
    ``strange``    gives an outcome that cannot be encoded
    ``hold``       appends its id to ``<body>.started``, waits for the file ``<body>``
    ``ahold``      the same as a coroutine
    ``acancel``    a coroutine that waits for ever
    ``abusy``      the same as a coroutine
    ``busy``       takes as many seconds as the body says
    ``spin``       as ``hold``, without ever waiting
    ``patient``    as ``hold``, but ends with ``soft`` when its soft time limit is over
    ``apatient``   the same as a coroutine
    ``stubborn``   as ``hold``, and goes on whatever is raised
    ``astubborn``  the same as a coroutine
    ``die``        ends its process with ``os._exit``
    ``kill``       ends its process with SIGKILL
    ``pid``        succeeds with its process's id
    =============  ==========================================================================
    """

    def __init__(self) -> None:
        self._interrupts: Interrupts | None = None

    def open(self, interrupts: Interrupts) -> None:
        """Be interruptible."""
        self._interrupts = interrupts

    def close(self) -> None:
        """Nothing to close."""

    def is_async(self, request: Request) -> bool:
        """Tasks whose names begin with ``a`` are coroutines."""
        return request.task.startswith("a")

    def run(self, request: Request) -> Outcome:
        """Do it, here and now."""
        interrupts = self._interrupts
        assert interrupts is not None, "open() comes first"
        started = time.monotonic()
        try:
            try:
                interrupts.begin(request)
                if self.is_async(request):
                    # Looked at where the coroutine waits.
                    mail: list[BaseException] = []
                    interrupts.divert(mail.append)
                    outcome = asyncio.run(self._adoing(request, mail))
                else:
                    outcome = self._doing(request)
                return outcome
            finally:
                interrupts.divert(None)
                interrupts.end()
        except SoftTimeLimitExceeded as error:
            return _failed(request, error, started)
        except TaskCancelled:
            return Revoked(key=request.key, record=None, runtime=time.monotonic() - started)

    async def arun(self, request: Request) -> Outcome:
        """Do it, letting the loop run where it waits."""
        started = time.monotonic()
        try:
            return await self._adoing(request, [])
        except SoftTimeLimitExceeded as error:
            return _failed(request, error, started)

    def _doing(self, request: Request) -> Outcome:
        body = request.message.body
        match request.task:
            case "large":
                body = bytes(int(body))
            case "loop":
                body = asyncio.run(asyncio.sleep(POLL, body))
            case "raise":
                raise RuntimeError("a bug in the runner")
            case "exit":
                sys.exit(3)
            case "strange":
                return _strange(request)
            case "hold" | "spin" | "patient" | "stubborn":
                body = _wait(request.task, _announce(request)) or body
            case "busy":
                time.sleep(float(body))
            case "die":
                os._exit(7)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "pid":
                body = str(os.getpid()).encode()
            case _:
                pass
        return _succeeded(request, body)

    async def _adoing(self, request: Request, mail: list[BaseException]) -> Outcome:
        body = request.message.body
        match request.task:
            case "ahold":
                await _await(_announce(request), mail)
            case "apatient":
                try:
                    await _await(_announce(request), mail)
                except SoftTimeLimitExceeded:
                    body = b"soft"
            case "astubborn":
                gate = _announce(request)
                while not gate.exists():
                    try:
                        await asyncio.sleep(POLL)
                    except BaseException:  # noqa: BLE001, S112 - it is stubborn
                        continue
            case "abusy":
                await asyncio.sleep(float(body))
            case "acancel":
                _announce(request)
                await asyncio.Event().wait()
            case "aecho":
                pass
            case _:
                return self._doing(request)
        return _succeeded(request, body)


def _succeeded(request: Request, body: bytes) -> Succeeded:
    record = ResultRecord(id=request.id, state="SUCCESS", body=body)
    return Succeeded(key=request.key, runtime=0.0, record=record)


def _failed(request: Request, error: Exception, started: float) -> Failed:
    runtime = time.monotonic() - started
    return Failed(key=request.key, runtime=runtime, record=None, reason=repr(error))


def _wait(how: str, gate: Path) -> bytes | None:
    while True:
        # All of it: what interrupts may come anywhere.
        try:
            while not gate.exists():
                if how != "spin":
                    time.sleep(POLL)
        except SoftTimeLimitExceeded:
            if how == "patient":
                return b"soft"
            if how != "stubborn":
                raise
        except TaskCancelled:
            if how != "stubborn":
                raise
        else:
            return None


async def _await(gate: Path, mail: list[BaseException]) -> None:
    while not gate.exists():  # noqa: ASYNC240 - a file sets no event
        await asyncio.sleep(POLL)
        if mail:
            raise mail.pop()


def _strange(request: Request) -> Succeeded:
    message = Message(id="x", body=b"", properties={"x": Unencodable()})
    return Succeeded(key=request.key, runtime=0.0, record=None, follow_ups=(message,))


def _announce(request: Request) -> Path:
    gate = Path(request.message.body.decode())
    with gate.with_name(gate.name + ".started").open("a") as file:
        file.write(f"{request.key}\n")
    return gate


class Gate:
    """A file that requests wait for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.body = str(path).encode()

    def started(self) -> list[int]:
        """The keys of the requests that have begun to wait, in order."""
        record = self.path.with_name(self.path.name + ".started")
        return [int(line) for line in record.read_text().split()] if record.exists() else []

    async def reached(self, count: int) -> list[int]:
        """Wait until ``count`` requests have begun to wait."""
        async with asyncio.timeout(PATIENCE):
            while len(found := self.started()) < count:  # noqa: ASYNC110 - a file sets no event
                await asyncio.sleep(POLL)
        return found

    def open(self) -> None:
        """Let them go on."""
        self.path.touch()
