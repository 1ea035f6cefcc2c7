"""What traffic beside the tasks must pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from umbel.exceptions import BrokerUnavailable
from umbel.model import Exchange, Message, Queue
from umbel.protocols import Fanout
from umbel.testing.conformance.messages import PATIENCE

__all__ = ["FanoutContract", "MakeFanout"]

MakeFanout = Callable[[], Awaitable[Fanout]]
"""Gives one more open instance on the same store; the fixture closes them all."""

NEWS = Exchange("news", "fanout", durable=False)
OTHER = Exchange("other", "fanout", durable=False)
LOG = Exchange("log", "topic")
ANSWERS = Exchange("answers", "direct", durable=False)


def ear(name: str, exchange: Exchange, key: str = "") -> Queue:
    """A queue as listeners declare them."""
    return Queue(
        name,
        exchange=exchange,
        routing_key=key,
        durable=False,
        exclusive=True,
        auto_delete=True,
        expires=10.0,
        message_ttl=300.0,
    )


def said(text: str, exchange: Exchange = NEWS, key: str = "") -> Message:
    """A message that says ``text``."""
    return Message(id="", body=text.encode(), exchange=exchange.name, routing_key=key)


async def hear(stream: AsyncIterator[list[Message]], count: int) -> list[Message]:
    """The next ``count`` messages; fails when they do not come."""
    heard: list[Message] = []
    async with asyncio.timeout(PATIENCE):
        while len(heard) < count:
            heard += await anext(stream)
    return heard


def texts(messages: Sequence[Message]) -> list[str]:
    """What they say."""
    return [message.body.decode() for message in messages]


class FanoutContract:
    """Fixtures to give: ``make_fanout``."""

    async def test_every_listener_hears_everything_in_order(self, make_fanout: MakeFanout) -> None:
        speaker, one, two = await make_fanout(), await make_fanout(), await make_fanout()
        words = [str(number) for number in range(20)]

        async with (
            one.listen([ear("one", NEWS)]) as first,
            two.listen([ear("two", NEWS)]) as second,
        ):
            await speaker.broadcast(NEWS, [said(word) for word in words[:5]])
            await speaker.broadcast(OTHER, [said("not for you", OTHER)])
            await speaker.broadcast(NEWS, [said(word) for word in words[5:]])

            assert texts(await hear(first, 20)) == words
            assert texts(await hear(second, 20)) == words

    async def test_a_listener_hears_what_is_said_from_the_moment_it_entered(
        self, make_fanout: MakeFanout
    ) -> None:
        fanout = await make_fanout()
        await fanout.broadcast(NEWS, [said("before")])

        async with fanout.listen([ear("one", NEWS)]) as stream:
            await fanout.broadcast(NEWS, [])
            await fanout.broadcast(NEWS, [said("after")])

            assert texts(await hear(stream, 1)) == ["after"]

    async def test_messages_arrive_as_they_were_sent(self, make_fanout: MakeFanout) -> None:
        fanout = await make_fanout()
        message = Message(
            id="",
            body=bytes(range(256)),
            content_type="application/data",
            content_encoding="binary",
            headers=b'{"clock":7,"ticket":"t","expires":1.5}',
            exchange="log",
            routing_key="task.sent",
        )

        async with fanout.listen([ear("one", LOG, "#")]) as stream:
            await fanout.broadcast(LOG, [message])
            [heard] = await hear(stream, 1)

        assert heard.body == message.body
        assert (heard.content_type, heard.content_encoding) == ("application/data", "binary")
        assert heard.headers == message.headers
        assert (heard.exchange, heard.routing_key) == ("log", "task.sent")

    @pytest.mark.parametrize(
        ("patterns", "heard"),
        [
            (["task.*"], ["task.sent", "task.received"]),
            (["task.#"], ["task", "task.sent", "task.received", "task.sent.late"]),
            (["*.sent", "worker.online"], ["task.sent", "worker.online"]),
            (["#"], ["task", "task.sent", "task.received", "task.sent.late", "worker.online"]),
        ],
    )
    async def test_patterns_match_as_in_amqp(
        self, make_fanout: MakeFanout, patterns: Sequence[str], heard: Sequence[str]
    ) -> None:
        fanout = await make_fanout()
        ears = [ear(f"ear-{pattern}", LOG, pattern) for pattern in patterns]
        async with fanout.listen([*ears, ear("end", NEWS)]) as stream:
            for key in ("task", "task.sent", "task.received", "task.sent.late", "worker.online"):
                await fanout.broadcast(LOG, [said(key, LOG, key)])
            await fanout.broadcast(NEWS, [said("end")])

            got = await hear(stream, len(heard) + 1)

        assert sorted(texts(got)) == sorted([*heard, "end"])

    async def test_an_answer_reaches_the_one_who_asked(self, make_fanout: MakeFanout) -> None:
        speaker, one, two = await make_fanout(), await make_fanout(), await make_fanout()

        async with (
            one.listen([ear("one.answers", ANSWERS, "one")]) as first,
            two.listen([ear("two.answers", ANSWERS, "two")]) as second,
        ):
            await speaker.broadcast(ANSWERS, [said("to one", ANSWERS, "one")])
            await speaker.broadcast(ANSWERS, [said("to two", ANSWERS, "two")])

            assert texts(await hear(first, 1)) == ["to one"]
            assert texts(await hear(second, 1)) == ["to two"]

    async def test_an_answer_that_nobody_waits_for_is_lost_and_no_error(
        self, make_fanout: MakeFanout
    ) -> None:
        fanout = await make_fanout()
        async with fanout.listen([ear("gone.answers", ANSWERS, "gone")]):
            pass

        await fanout.broadcast(ANSWERS, [said("late", ANSWERS, "gone")])

        async with fanout.listen([ear("gone.answers", ANSWERS, "gone")]) as stream:
            await fanout.broadcast(ANSWERS, [said("in time", ANSWERS, "gone")])
            assert texts(await hear(stream, 1)) == ["in time"]

    async def test_where_listeners_are_counted_the_count_is_right(
        self, make_fanout: MakeFanout
    ) -> None:
        speaker, one, two = await make_fanout(), await make_fanout(), await make_fanout()
        assert await speaker.broadcast(NEWS, [said("0")]) in {0, None}

        async with one.listen([ear("one", NEWS)]), two.listen([ear("two", NEWS)]):
            assert await speaker.broadcast(NEWS, [said("2")]) in {2, None}

    async def test_who_does_not_fetch_holds_nobody_up(self, make_fanout: MakeFanout) -> None:
        fanout = await make_fanout()

        async with fanout.listen([ear("deaf", NEWS)]), asyncio.timeout(PATIENCE):
            for _ in range(40):
                await fanout.broadcast(NEWS, [said("x" * 1000) for _ in range(25)])

    async def test_who_listens_to_what_is_closed_is_told(self, make_fanout: MakeFanout) -> None:
        fanout = await make_fanout()

        async with fanout.listen([ear("one", NEWS)]) as stream:
            await fanout.close()
            with pytest.raises(BrokerUnavailable):
                await hear(stream, 1)
