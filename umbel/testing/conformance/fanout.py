"""What one-to-many traffic must pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from umbel.protocols import Fanout
from umbel.testing.conformance.messages import PATIENCE

__all__ = ["FanoutContract", "MakeFanout"]

MakeFanout = Callable[[], Awaitable[Fanout]]
"""Gives one more open instance on the same store; the fixture closes them all."""


async def hear(
    stream: AsyncIterator[list[tuple[str, bytes]]], count: int
) -> list[tuple[str, bytes]]:
    """The next ``count`` payloads; fails when they do not come."""
    heard: list[tuple[str, bytes]] = []
    async with asyncio.timeout(PATIENCE):
        while len(heard) < count:
            heard += await anext(stream)
    return heard


class FanoutContract:
    """Fixtures to give: ``make_fanout``."""

    async def test_every_listener_hears_everything_in_order(self, make_fanout: MakeFanout) -> None:
        speaker, one, two = await make_fanout(), await make_fanout(), await make_fanout()
        said = [("news", str(number).encode()) for number in range(20)]

        async with one.listen(["news"]) as first, two.listen(["news"]) as second:
            await speaker.broadcast("news", [payload for _, payload in said[:5]])
            await speaker.broadcast("other", [b"not for you"])
            await speaker.broadcast("news", [payload for _, payload in said[5:]])

            assert await hear(first, 20) == said
            assert await hear(second, 20) == said

    async def test_a_listener_hears_what_is_said_from_the_moment_it_entered(
        self, make_fanout: MakeFanout
    ) -> None:
        fanout = await make_fanout()
        await fanout.broadcast("news", [b"before"])

        async with fanout.listen(["news"]) as stream:
            await fanout.broadcast("news", [])
            await fanout.broadcast("news", [bytes(range(256))])

            assert await hear(stream, 1) == [("news", bytes(range(256)))]

    @pytest.mark.parametrize(
        ("topics", "heard"),
        [
            (["task.*"], ["task.sent", "task.received"]),
            (["task.#"], ["task", "task.sent", "task.received", "task.sent.late"]),
            (["*.sent", "worker.online"], ["task.sent", "worker.online"]),
            (["#"], ["task", "task.sent", "task.received", "task.sent.late", "worker.online"]),
        ],
    )
    async def test_patterns_match_as_in_amqp(
        self, make_fanout: MakeFanout, topics: Sequence[str], heard: Sequence[str]
    ) -> None:
        fanout = await make_fanout()
        async with fanout.listen([*topics, "end"]) as stream:
            for topic in ("task", "task.sent", "task.received", "task.sent.late", "worker.online"):
                await fanout.broadcast(topic, [b""])
            await fanout.broadcast("end", [b""])

            got = await hear(stream, len(heard) + 1)

        assert [topic for topic, _ in got] == [*heard, "end"]
