"""Messages that are refused: whoever waits for their tasks hears of it, as far as they can be
believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from umbel import Umbel, chain, group
from umbel.app.task import Task
from umbel.exceptions import ContentDisallowed, DecodeError, InvalidTaskError, NotRegistered
from umbel.model import Arrival, FullChord, Message
from umbel.security.serialization import register_auth
from umbel.serialization import registry
from umbel.testing.certificates import identity
from umbel.worker import Worker


def working(app: Umbel) -> Worker:
    return Worker(app, pool="threads", concurrency=2, quiet=True)


def headers(id_: str, **more: object) -> bytes:
    return json.dumps({"id": id_, "task": "echo", **more}).encode()


async def post(app: Umbel, message: Message) -> None:
    broker = await app.connections.broker()
    await broker.publish([msgspec.structs.replace(message, routing_key="celery")])


@pytest.fixture
def echo(app: Umbel) -> Task[..., Any]:
    @app.task(name="echo")
    def echo(value: object) -> object:
        return value

    return echo


@pytest.fixture
def heard(app: Umbel) -> list[str]:
    """The ids of tasks whose error callback has run."""
    heard: list[str] = []

    @app.task(name="sorry")
    def sorry(id_: str) -> None:
        heard.append(id_)

    return heard


async def test_who_waits_for_a_task_whose_content_is_refused_hears_it(
    app: Umbel, echo: Task[..., Any]
) -> None:
    async with working(app):
        result = await echo.aapply_async((1,), serializer="yaml")

        with pytest.raises(ContentDisallowed, match="refused content of type 'application/x-yaml'"):
            await result.aget(timeout=60)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (Message(id="", headers=headers("x"), body=b"\xff"), DecodeError),
        (Message(id="", headers=headers("x", retries="many"), body=b"[[], {}, {}]"), None),
        (Message(id="", headers=headers("x", eta="soon"), body=b"\xff"), None),
        (Message(id="", headers=b'{"id":"x"}', correlation_id="x", body=b"[]"), None),
        (Message(id="", headers=b"{}", correlation_id="x", body=b"[]"), None),
        (Message(id="", headers=b'{"id":7,"task":"t"}', correlation_id="x", body=b"[]"), None),
    ],
    ids=["body", "retries", "both", "no task", "no id", "id"],
)
async def test_who_waits_for_a_task_whose_message_is_damaged_hears_it(
    app: Umbel, echo: Task[..., Any], message: Message, error: type[Exception] | None
) -> None:
    # Brokers without envelopes keep the id apart.
    message = msgspec.structs.replace(message, id="x")
    async with working(app):
        await post(app, message)

        with pytest.raises(error or InvalidTaskError):
            await app.AsyncResult("x").aget(timeout=60)


async def test_error_callbacks_hear_of_unknown_tasks_and_of_damaged_headers(
    app: Umbel, echo: Task[..., Any], heard: list[str]
) -> None:
    sorry = app.signature("sorry")
    async with working(app) as worker:
        unknown = await app.asend_task("nobody.knows", (), link_error=sorry)
        body = json.dumps([[], {}, {"errbacks": [dict(sorry)]}]).encode()
        await post(app, Message(id="x", headers=headers("x", timelimit=5), body=body))

        with pytest.raises(NotRegistered):
            await unknown.aget(timeout=60)
        with pytest.raises(InvalidTaskError):
            await app.AsyncResult("x").aget(timeout=60)
        await worker.settled(4)

    assert sorted(heard) == sorted([unknown.id, "x"])


async def test_a_damaged_message_does_not_touch_a_result_that_is_there(
    app: Umbel, echo: Task[..., Any]
) -> None:
    async with working(app) as worker:
        result = await echo.adelay(1)
        assert await result.aget(timeout=60) == 1
        await post(app, Message(id=result.id, headers=headers(result.id, retries=-1), body=b"[]"))
        await worker.settled(2)

        assert await app.AsyncResult(result.id).aget(timeout=60) == 1


async def test_a_refused_task_that_ignores_its_result_leaves_none(
    app: Umbel, echo: Task[..., Any]
) -> None:
    async with working(app) as worker:
        await post(app, Message(id="x", headers=headers("x", ignore_result=True, eta=1), body=b""))
        await worker.settled(1)

        assert await app.AsyncResult("x").astate() == "PENDING"


async def test_who_waits_for_a_chain_hears_that_its_middle_is_refused(
    app: Umbel, echo: Task[..., Any]
) -> None:
    def broken() -> Any:
        return chain(echo.s(1), echo.s().set(serializer="yaml"), echo.s(), app=app)

    one = await broken().aapply_async()
    async with working(app):
        several = await group([echo.s(0), broken(), echo.s(2)], app=app).aapply_async()

        with pytest.raises(ContentDisallowed):
            await one.aget(timeout=60)
        with pytest.raises(ContentDisallowed):
            await several.aget(timeout=60)


@pytest.fixture
def signing(app: Umbel, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Makes this process sign as somebody; only the shop is trusted."""
    who = {name: identity(tmp_path / name, name) for name in ("shop", "mallory")}

    def sign_as(name: str) -> None:
        key, cert = (Path(path).read_text() for path in (who[name].key, who[name].cert))
        register_auth(key, None, cert, str(tmp_path / "shop" / "*.pem"))

    sign_as("shop")
    app.conf.task_serializer = "auth"
    app.conf.accept_content = ["auth"]
    yield sign_as
    registry.unregister("auth")


def signed(id_: str, body: bytes, found: bytes) -> Message:
    return Message(
        id=id_,
        correlation_id=id_,
        headers=found,
        body=body,
        content_type="application/data",
        content_encoding="utf-8",
    )


async def test_messages_that_nobody_trusted_has_signed_end_no_task_and_no_chord(
    app: Umbel, echo: Task[..., Any], signing: Callable[[str], None]
) -> None:
    signing("mallory")
    _, _, forged = registry.dumps([[], {}, {}], "auth")
    signing("shop")
    place = {"group": "chord", "group_index": 0}
    unknown = json.dumps({"id": "unknown", "task": "nobody.knows", **place}).encode()
    late = "2001-01-01T00:00:00+00:00"
    messages = [
        Message(id="unsigned", headers=headers("unsigned", **place), body=b"[]"),
        signed("forged", forged, headers("forged", **place)),
        signed("damaged", forged, headers("damaged", eta=5, **place)),
        signed("unknown", forged, unknown),
        signed("expired", forged, headers("expired", expires=late, **place)),
        signed("old", forged, b"{}"),
    ]
    arrived: list[Arrival] = []
    backend = await app.connections.backend()
    arrive = backend.arrive

    async def noted(arrivals: Sequence[Arrival]) -> list[FullChord]:
        arrived.extend(arrivals)
        return await arrive(arrivals)

    backend.arrive = noted  # type: ignore[method-assign]

    async with working(app) as worker:
        for message in messages:
            await post(app, message)
        await worker.settled(len(messages))
        result = await echo.adelay(1)
        assert await result.aget(timeout=60) == 1

        states = {each.id: await app.AsyncResult(each.id).astate() for each in messages}
        assert states == dict.fromkeys(states, "PENDING")
        assert arrived == []
