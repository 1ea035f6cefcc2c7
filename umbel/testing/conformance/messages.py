"""What contracts send and how they take it back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import count
from typing import Any, TypeVar

import msgspec
import pytest

from umbel.model import Delivery, Message
from umbel.protocols import Broker
from umbel.testing.conformance.clocks import MovableClock
from umbel.testing.faults import interrupted

__all__ = [
    "PATIENCE",
    "MakeBroker",
    "every_await",
    "ids",
    "message",
    "messages",
    "recover",
    "require",
    "settle",
    "take",
    "until",
]

T = TypeVar("T")

PATIENCE = 60.0
"""Real seconds after which a contract gives up waiting for a driver."""

MakeBroker = Callable[[], Awaitable[Broker]]
"""Gives one more open instance on the same store; the fixture closes them all."""

_numbers = count(1)


def message(id: str | None = None, **fields: Any) -> Message:
    """A message for the queue ``q``, unless ``fields`` say otherwise."""
    name = id or f"message-{next(_numbers)}"
    fields.setdefault("body", b"[[],{},{}]")
    fields.setdefault("headers", msgspec.json.encode({"id": name, "task": "contract.task"}))
    fields.setdefault("correlation_id", name)
    fields.setdefault("routing_key", "q")
    return Message(id=name, **fields)


def messages(count: int, **fields: Any) -> list[Message]:
    """As many messages as asked for, alike but for their ids."""
    return [message(**fields) for _ in range(count)]


def ids(items: Sequence[Delivery | Message]) -> list[str]:
    """The task ids, in order."""
    return [item.message.id if isinstance(item, Delivery) else item.id for item in items]


def require(value: T | None, reason: str) -> T:
    """What a driver claims; skips the test when it claims nothing."""
    if not value or value == "none":
        pytest.skip(reason)
    return value


async def take(broker: Broker, count: int, *queues: str) -> list[Delivery]:
    """Receive until there are ``count``; fails when they do not come."""
    taken: list[Delivery] = []
    async with asyncio.timeout(PATIENCE):
        while len(taken) < count:
            taken += await broker.receive(queues or ("q",), limit=count - len(taken), wait=PATIENCE)
    return taken


async def until(claim: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until a claim about another process holds; fails when it does not."""
    async with asyncio.timeout(seconds):
        while not claim():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.002)


async def recover(broker: Broker, clock: MovableClock, count: int) -> list[Delivery]:
    """Receive what is there, and what comes back when leases have run out."""
    found = await broker.receive(["q"], limit=1000, wait=0)
    if len(found) < count:
        # Without leases it may be on its way back at this very moment.
        await clock.advance((broker.capabilities.lease or 0) * 1.2)
        found += await take(broker, count - len(found))
    return found


async def every_await(
    begin: Callable[[], Coroutine[Any, Any, object]],
    check: Callable[[], Awaitable[None]],
) -> None:
    """Cancel a call at its first await, check, begin anew and cancel at the second, and so on,
    until it ends by itself; while it waits, and again when what it waits for has just come."""
    for when in ("waiting", "ready"):
        for at in count(1):
            assert at < 100, "the call never ended by itself"
            async with asyncio.timeout(PATIENCE):
                cancelled, _ = await interrupted(begin(), at=at, when=when)
            await check()
            if not cancelled:
                break


async def settle(broker: Broker, verb: str, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """``ack``, ``nack``, ``drop``, ``begin`` or ``extend``; returns those whose lease was lost."""
    match verb:
        case "ack":
            return await broker.ack(deliveries)
        case "nack":
            return await broker.nack(deliveries)
        case "drop":
            return await broker.nack(deliveries, requeue=False)
        case "begin":
            return await broker.begin(deliveries)
        case "extend":
            return await broker.extend(deliveries, lease=broker.capabilities.lease or 1)
        case _:
            raise ValueError(verb)
