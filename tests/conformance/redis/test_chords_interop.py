"""Chords whose members Celery's workers and ours count together, on the same Redis."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import celery
import msgspec
import pytest
import redis as redis_py
from celery.app.task import Context

from umbel.clock import SystemClock
from umbel.drivers.redis.backend import RedisBackend
from umbel.model import Arrival, Expected, FullChord, Message
from umbel.wire.results import ResultCodec, decode_group

# Celery's, about redis-py.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


class Member(msgspec.Struct):
    """As much of a request as its result names."""

    id: str
    message: Message = Message(id="", body=b"")
    group_id: str | None = "c"
    parent_id: str | None = None


class Peer:
    """A worker of Celery's, as far as its backend goes: members end, bodies are sent."""

    def __init__(self, url: str, **settings: object) -> None:
        self.app = celery.Celery("peer", broker=url, backend=url, set_as_current=False)
        self.app.conf.update(settings)
        self.app.conf.accept_content = ["json", "pickle", "yaml", "msgpack"]

        @self.app.task(name="body", shared=False)
        def body(values: list[Any]) -> None: ...

        self.body = body.s().set(task_id="the-body")

    async def ends(self, index: int | None, result: Any, state: str = "SUCCESS") -> None:
        """The member in that place."""
        request = Context(
            {"id": f"c-{index}", "group": "c", "group_index": index, "chord": dict(self.body)}
        )
        await asyncio.to_thread(self.app.backend.on_chord_part_return, request, state, result)

    def close(self) -> None:
        self.app.backend.result_consumer.stop()
        self.app.backend.client.close()
        self.app.amqp.producer_pool.force_close_all()
        self.app.pool.force_close_all()
        self.app.close()


@pytest.fixture
def peer(redis_url: str) -> Iterator[Peer]:
    peer = Peer(redis_url)
    yield peer
    peer.close()


def ours(index: int | None, result: Any, codec: ResultCodec | None = None) -> Arrival:
    """The arrival of a member that we ran."""
    codec = codec or ResultCodec()
    member = Member(f"c-{index}")
    record = (
        codec.failed(member, result, "Traceback")
        if isinstance(result, Exception)
        else codec.succeeded(member, result)
    )
    place = 2**53 if index is None else index
    return Arrival(chord_id="c", index=place, size=0, record=record, body=b"-")


def values(chord: FullChord, codec: ResultCodec | None = None) -> list[Any]:
    return [(codec or ResultCodec()).read(record).result for record in chord.records]


def bodies(server: redis_py.Redis) -> list[Any]:
    """What Celery has sent the body with."""
    sent = [json.loads(each) for each in server.lrange("celery", 0, -1)]
    return [json.loads(base64.b64decode(each["body"]))[0][0] for each in sent]


async def test_we_complete_a_chord_that_celery_began(backend: RedisBackend, peer: Peer) -> None:
    await asyncio.to_thread(peer.app.backend.set_chord_size, "c", 4)
    await peer.ends(2, {"two": [2]})
    assert await backend.arrive([ours(3, 3)]) == []
    await peer.ends(0, 0)

    [chord] = await backend.arrive([ours(1, None)])

    assert values(chord) == [0, None, {"two": [2]}, 3]
    assert [record.id for record in chord.records] == ["c-0", "c-1", "c-2", "c-3"]


async def test_celery_completes_a_chord_that_we_began(
    backend: RedisBackend, peer: Peer, server: redis_py.Redis
) -> None:
    await backend.expect([Expected("c", 3)])
    assert await backend.arrive([ours(2, "two"), ours(0, [0])]) == []

    await peer.ends(1, 1)

    assert bodies(server) == [[[0], 1, "two"]]
    assert await backend.arrive([ours(2, "two"), ours(0, [0])]) == []
    await backend.seal(["c"])


async def test_whoever_completes_a_chord_repeats_make_no_second_body(
    backend: RedisBackend, peer: Peer, server: redis_py.Redis
) -> None:
    await backend.expect([Expected("c", 2)])
    await peer.ends(0, 0)
    arrival = ours(1, 1)
    [chord] = await backend.arrive([arrival])

    await peer.ends(0, 0)
    assert bodies(server) == []
    assert await backend.arrive([arrival]) == [chord]
    await backend.seal(["c"])

    await peer.ends(0, 0)
    await peer.ends(1, 1)
    assert bodies(server) == []
    assert await backend.arrive([arrival]) == []
    left = {key.decode() for key in server.scan_iter("*")}
    assert left == {"celery-taskset-meta-c.c"}


async def test_a_failure_of_ours_is_celerys_chord_error(backend: RedisBackend, peer: Peer) -> None:
    await backend.expect([Expected("c", 2)])
    await backend.arrive([ours(0, LookupError("no", 3))])

    await peer.ends(1, 1)

    result = peer.app.AsyncResult("the-body")
    assert await asyncio.to_thread(lambda: result.state) == "FAILURE"
    error = await asyncio.to_thread(lambda: result.result)
    assert str(error) == "Dependency c-0 raised LookupError('no', 3)"


async def test_a_failure_of_celerys_is_seen(backend: RedisBackend, peer: Peer) -> None:
    await backend.expect([Expected("c", 2)])
    await peer.ends(0, LookupError("no", 3), "FAILURE")

    [chord] = await backend.arrive([ours(1, 1)])

    failed, _ = chord.records
    assert (failed.id, failed.state) == ("c-0", "FAILURE")
    assert repr(ResultCodec().read(failed).result) == "LookupError('no', 3)"


async def test_members_added_on_either_side_are_waited_for(
    backend: RedisBackend, peer: Peer, server: redis_py.Redis
) -> None:
    await backend.expect([Expected("c", 1)])
    await backend.enlarge({"c": ["c-None"]})
    await asyncio.to_thread(peer.app.backend.add_to_chord, "c", None)

    assert await backend.arrive([ours(0, 0), ours(None, "last")]) == []
    assert bodies(server) == []
    await peer.ends(1, 1)

    assert bodies(server) == [[0, 1, "last"]]


async def test_a_saved_header_comes_along(backend: RedisBackend, peer: Peer) -> None:
    app = peer.app
    inner = app.GroupResult("inner", [app.AsyncResult("c-0"), app.AsyncResult("c-1")])
    header = ("c", [inner, app.AsyncResult("c-2")])
    await asyncio.to_thread(app.backend.apply_chord, header, peer.body)
    await asyncio.to_thread(app.backend.set_chord_size, "c", 3)

    [chord] = await backend.arrive([ours(index, index) for index in range(3)])

    assert chord.group is not None
    _, _, members = decode_group(chord.group.body)
    assert members == [
        [["inner", None], [[["c-0", None], None], [["c-1", None], None]]],
        [["c-2", None], None],
    ]


async def test_a_chord_without_order_is_counted_in_lists(
    redis_url: str, system_clock: SystemClock, server: redis_py.Redis
) -> None:
    options = {"result_chord_ordered": False}
    peer = Peer(redis_url, result_backend_transport_options=options)
    backend = RedisBackend(redis_url, clock=system_clock, transport_options=options)
    await backend.open()
    await backend.expect([Expected("c", 3)])
    await peer.ends(2, "two")
    await backend.arrive([ours(1, "one")])

    await peer.ends(0, "zero")

    assert bodies(server) == [["two", "one", "zero"]]
    await backend.close()
    peer.close()


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
@pytest.mark.parametrize("compression", [None, "zlib"])
async def test_members_are_read_in_every_form(
    serializer: str,
    compression: str | None,
    backend: RedisBackend,
    redis_url: str,
    server: redis_py.Redis,
) -> None:
    peer = Peer(
        redis_url,
        result_serializer=serializer,
        result_compression=compression,
        result_accept_content=[serializer],
    )
    codec = ResultCodec(serializer, compression=compression)
    await backend.expect([Expected("c", 2)])
    await peer.ends(0, {"x": [1]})
    [chord] = await backend.arrive([ours(1, {"y": 2}, codec)])
    metas = [codec.read(record) for record in chord.records]
    assert [(meta.task_id, meta.status, meta.result) for meta in metas] == [
        ("c-0", "SUCCESS", {"x": [1]}),
        ("c-1", "SUCCESS", {"y": 2}),
    ]
    await backend.seal(["c"])
    server.delete("celery-taskset-meta-c.c")

    await backend.expect([Expected("c", 2)])
    await backend.arrive([ours(1, {"y": 2}, codec)])
    await peer.ends(0, {"x": [1]})
    assert bodies(server) == [[{"x": [1]}, {"y": 2}]]
    peer.close()
