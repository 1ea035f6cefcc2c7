"""What somebody else has put into Redis, or taken out of it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import redis as redis_py

from umbel.drivers.redis.broker import RedisBroker
from umbel.exceptions import BatchError, BrokerUnavailable
from umbel.model import Message
from umbel.testing.conformance.messages import ids


def messages(*names: str, **fields: Any) -> list[Message]:
    return [Message(id=name, body=b"[]", routing_key="mail", **fields) for name in names]


async def test_scripts_survive_script_flush(broker: RedisBroker, server: redis_py.Redis) -> None:
    server.script_flush()
    await broker.publish(messages("a", not_before=time.time() + 0.05))
    server.script_flush()
    got = await broker.receive(["mail"], limit=1, wait=5)
    server.script_flush()

    assert ids(got) == ["a"]
    assert await broker.ack(got) == []


async def test_a_key_of_the_wrong_type_costs_only_its_own_queue(
    broker: RedisBroker, server: redis_py.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    server.set("spoiled", "no list")
    fine = messages("a")
    refused = [Message(id="b", body=b"", routing_key="spoiled")]

    with pytest.raises(BatchError) as raised:
        await broker.publish([*fine, *refused])
    got = await broker.receive(["spoiled", "mail"], limit=10, wait=1)

    assert list(raised.value.errors) == [1]
    assert ids(got) == ["a"]
    assert "A queue cannot be read" in caplog.text


async def test_nothing_is_taken_while_unacked_has_the_wrong_type(
    broker: RedisBroker, server: redis_py.Redis
) -> None:
    await broker.publish(messages("a"))
    server.set("unacked", "no hash")

    with pytest.raises(BrokerUnavailable, match="WRONGTYPE"):
        await broker.receive(["mail"], limit=10, wait=0)

    assert server.llen("mail") == 1


@pytest.mark.parametrize(
    "garbage", [b"", b"\xff\x00", b"[]", b"null", b'{"body":', b"{}", b'{"umbel":"1||",}']
)
async def test_garbage_is_handed_out_as_such_and_harms_nobody(
    garbage: bytes, broker: RedisBroker, server: redis_py.Redis
) -> None:
    server.lpush("mail", garbage)
    await broker.publish(messages("a"))

    got = await broker.receive(["mail"], limit=10, wait=1)

    assert [bool(each.defect) for each in got] == [True, False]
    assert got[0].message.body == garbage
    assert await broker.extend(got, lease=10) == []
    # Celery's workers read all of this, and must be able to.
    assert all(json.loads(record) for record in server.hvals("unacked"))
    assert server.hlen("unacked") == 1
    assert await broker.nack(got[:1], requeue=False) == []
    assert [each.message.body for each in await broker.dead_letters.latest(limit=9)] == [garbage]
    assert await broker.ack(got) == got[:1]


async def test_an_unroutable_message_is_refused_by_index(broker: RedisBroker) -> None:
    lost = Message(id="b", body=b"", exchange="nowhere", routing_key="x")

    with pytest.raises(BatchError, match="no queue bound") as raised:
        await broker.publish([*messages("a"), lost])

    assert list(raised.value.errors) == [1]
    assert ids(await broker.receive(["mail"], limit=10, wait=0)) == ["a"]
