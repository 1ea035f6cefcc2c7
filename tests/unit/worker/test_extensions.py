"""What programs add to a worker: steps, strategies, calls in its pool."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from umbel import Umbel
from umbel.app.connecting.received import Consumer, Received
from umbel.exceptions import ContentDisallowed, ImproperlyConfigured, InvalidTaskError
from umbel.model import Delivery, Message, Queue
from umbel.worker import Worker
from umbel.worker.bootsteps import Blueprint, ConsumerStep, StartStopStep, Step
from umbel.worker.request import Request, create_request_cls
from umbel.worker.strategy import default, hybrid_to_proto2, proto1_to_proto2

WITHIN = 60.0


@pytest.fixture
def app() -> Iterator[Umbel]:
    with Umbel("app", broker="memory://extensions", set_as_current=False) as app:
        yield app


@asynccontextmanager
async def working(app: Umbel, **options: Any) -> AsyncIterator[Worker]:
    async with asyncio.timeout(WITHIN):
        async with Worker(app, pool="threads", concurrency=1, quiet=True, **options) as worker:
            yield worker
        await app.aclose()


async def until(is_so: Callable[[], object]) -> None:
    while not is_so():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


# Steps


def test_steps_are_made_in_the_order_that_they_require() -> None:
    told: list[str] = []

    class First(StartStopStep):
        def start(self, parent: Any) -> None:
            told.append("first")

    class Second(StartStopStep):
        requires = (First, "umbel.compat.worker.components:Pool")

        def start(self, parent: Any) -> None:
            told.append("second")

        def stop(self, parent: Any) -> None:
            told.append("stop second")

    class Unwanted(StartStopStep):
        enabled = False

    class Ending(StartStopStep):
        last = True

        def create(self, parent: Any) -> Any:
            return Made()

    class Made:
        def start(self) -> None:
            told.append("last")

        def stop(self) -> None:
            raise LookupError("cannot stop")

    class Parent:
        steps: list[Step]

    parent = Parent()
    parent.steps = []
    blueprint = Blueprint([Ending, Second, Unwanted, First])
    blueprint.apply(parent)

    assert (blueprint.human_state(), len(parent.steps)) == ("initializing", 3)
    blueprint.start(parent)
    assert blueprint.human_state() == "running"
    blueprint.stop(parent)
    blueprint.stop(parent)
    assert told == ["first", "second", "last", "stop second"]
    assert blueprint[First.name].alias == "First"


def test_steps_that_require_each_other_are_refused() -> None:
    class One(Step):
        requires = ()

    class Two(Step):
        requires = (One,)

    One.requires = (Two,)

    with pytest.raises(ImproperlyConfigured, match="require each other"):
        Blueprint([One, Two]).apply(None)


async def test_steps_see_the_worker_and_are_ended_with_it(app: Umbel) -> None:
    told: list[Any] = []

    class Watching(StartStopStep):
        def __init__(self, worker: Any, hostname: str = "", **options: Any) -> None:
            told.append((hostname, options["concurrency"], options["mine"]))

        def start(self, worker: Any) -> None:
            told.append((worker.hostname, worker.app is app, worker.pool.num_processes))
            worker.timer.call_after(0.01, self.say, ("after",), {"times": 2})
            worker.timer.call_at(None, self.say, ("at",))
            worker.timer.call_repeatedly(0.01, self.fail)
            never = worker.timer.call_after(0.01, self.say, ("never",))
            worker.timer.cancel(never)
            self.failures = 0

        def say(self, word: str, times: int = 1) -> None:
            told.append(word * times)

        def fail(self) -> None:
            self.failures += 1
            raise LookupError("every time")

        def terminate(self, worker: Any) -> None:
            told.append("terminated")

        def stop(self, worker: Any) -> None:
            told.append(("stopped", self.failures > 1))

    class Ending(StartStopStep):
        def start(self, consumer: Any) -> None:
            told.append((consumer.hostname, consumer.controller.consumer is consumer))
            consumer.call_soon(told.append, "soon")

    app.steps["worker"].add(Watching)
    app.steps["consumer"].add(Ending)

    async with working(app, hostname="a@b", extra_options={"mine": 7}):
        await until(lambda: {"afterafter", "at", "soon"} <= {t for t in told if isinstance(t, str)})
        await asyncio.sleep(0.05)

    assert told[:3] == [("a@b", 1, 7), ("a@b", True, 1), ("a@b", True)]
    assert told[-1] == ("stopped", True)
    assert "never" not in told


async def test_a_step_can_end_the_worker(app: Umbel) -> None:
    class Ending(StartStopStep):
        def start(self, worker: Any) -> None:
            worker.stop()

    app.steps["worker"].add(Ending)

    async with asyncio.timeout(WITHIN):
        assert await Worker(app, pool="threads", quiet=True).arun() == 0
        await app.aclose()


async def test_consumer_steps_receive_what_is_no_task(app: Umbel) -> None:
    heard: list[Any] = []
    refused: list[Any] = []
    given_back: list[Any] = []

    class Listening(ConsumerStep):
        def get_consumers(self, channel: Any) -> list[Consumer]:
            queue = Queue("custom")
            return [
                Consumer(
                    channel,
                    [queue],
                    callbacks=[self.heard],
                    accept=["json"],
                    on_decode_error=self.refused,
                )
            ]

        def heard(self, body: Any, message: Received) -> None:
            if body == "again" and not given_back:
                given_back.append(message.delivery_tag)
                message.requeue()
                return
            if body == "fail":
                raise LookupError(body)
            heard.append((body, message.headers))
            message.ack()

        def refused(self, message: Received, error: Exception) -> None:
            refused.append(type(error))
            message.reject()

    app.steps["consumer"].add(Listening)

    async with working(app):
        with app.producer_or_acquire() as producer:

            def publish() -> None:
                producer.publish("no json", "custom")
                producer.publish({"a": 1}, "custom", serializer="json")
                for body in ('"fail"', '"again"'):
                    producer.publish(
                        body, "custom", content_type="application/json", headers={"h": 1}
                    )

            await asyncio.to_thread(publish)
            await until(lambda: len(heard) == 2)

        broker = await app.connections.broker()
        await until_empty(broker)

    assert heard == [({"a": 1}, {}), ("again", {"h": 1})]
    assert set(refused) == {ContentDisallowed}


async def until_empty(broker: Any) -> None:
    while True:
        stats = (await broker.stats(["custom"]))["custom"]
        if not stats.ready and not stats.leased:
            return
        await asyncio.sleep(0.01)


# Strategies


async def test_a_strategy_has_the_messages_of_its_task_and_others_are_run(app: Umbel) -> None:
    kept: list[Any] = []

    @app.task
    def double(x: int) -> int:
        return 2 * x

    class Keeping(app.Task):  # type: ignore[misc,name-defined]
        def Strategy(self, task: Any, app: Any, consumer: Any) -> Any:  # noqa: N802
            made = create_request_cls(
                Request, task, consumer.pool, consumer.hostname, None, app=app
            )

            def handle(message: Any, body: Any, ack: Any, reject: Any, *_: Any, **__: Any) -> None:
                kept.append(made(message, on_ack=ack, on_reject=reject))
                if len(kept) == 3:
                    for request in kept:
                        request.acknowledge()
                    consumer.pool.apply_async(
                        operator.add, (kept[0].args[0], 40), callback=kept.append
                    )

            return handle

    @app.task(base=Keeping)
    def keep(x: int) -> None: ...

    async with working(app) as worker:
        for number in range(3):
            await keep.adelay(number + 2)
        assert await (await double.adelay(4)).aget(timeout=WITHIN) == 8
        await until(lambda: len(kept) == 4)
        await worker.settled(4)
        assert worker.state.totals[keep.name] == 3

    assert kept[3] == 42
    assert [request.args for request in kept[:3]] == [[2], [3], [4]]
    assert (kept[0].name, kept[0].eta, kept[0].hostname) == (keep.name, None, worker.hostname)


async def test_a_strategy_may_have_the_worker_run_some(app: Umbel) -> None:
    seen: list[Any] = []

    class Looking(app.Task):  # type: ignore[misc,name-defined]
        def Strategy(self, task: Any, app: Any, consumer: Any) -> Any:  # noqa: N802
            run = default(task, app, consumer)

            def handle(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> None:
                seen.append(message.payload[0])
                if message.payload[0] == [1]:
                    reject(None, (), requeue=False)
                elif message.payload[0] == [2]:
                    raise LookupError("a bug")
                else:
                    run(message, body, ack, reject, callbacks)

            return handle

    @app.task(base=Looking)
    def double(x: int) -> int:
        return 2 * x

    async with working(app) as worker:
        for number in (1, 2):
            await double.adelay(number)
        assert await (await double.adelay(3)).aget(timeout=WITHIN) == 6
        await worker.settled(3)

    assert seen == [[1], [2], [3]]


async def test_what_a_strategy_keeps_goes_back_when_the_worker_ends(app: Umbel) -> None:
    kept: list[Any] = []

    class Keeping(app.Task):  # type: ignore[misc,name-defined]
        def Strategy(self, task: Any, app: Any, consumer: Any) -> Any:  # noqa: N802
            return lambda message, *_, **__: kept.append(message)

    @app.task(base=Keeping)
    def keep() -> None: ...

    async with working(app):
        await keep.adelay()
        await until(lambda: kept)

    stats = await (await app.connections.broker()).stats(["celery"])
    assert stats["celery"].ready == 1
    await app.aclose()


async def test_a_call_in_the_pool_that_fails_is_told(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []

    class Calling(StartStopStep):
        def start(self, worker: Any) -> None:
            call = worker.pool.apply_async
            call(
                operator.truediv,
                (1, 0),
                accept_callback=lambda pid, when: told.append(type(pid)),
                error_callback=told.append,
            )
            call(operator.itemgetter(3), ([],))

    app.steps["worker"].add(Calling)

    async with working(app):
        await until(lambda: len(told) == 2 and "A call in the pool has failed" in caplog.text)

    assert told[0] is int
    assert isinstance(told[1], ZeroDivisionError)


# Messages


def received(**fields: Any) -> Received:
    message = Message(id="a", body=b"{}", **fields)
    delivery = Delivery(message=message, queue="q", tag="t")
    return Received(delivery, lambda *_: None, frozenset({"application/json"}))


def test_a_message_is_settled_once() -> None:
    message = received()
    assert (message.payload, message.acknowledged) == ({}, False)

    message.ack()

    assert message.acknowledged
    with pytest.raises(RuntimeError, match="already acknowledged with state: ACK"):
        message.reject()


def test_messages_of_the_first_protocol_become_those_of_the_second() -> None:
    body = {"task": "t", "id": "1", "args": [1], "kwargs": {"a": 2}, "taskset": "g", "utc": False}

    first, headers, is_decoded, utc = proto1_to_proto2(received(), body)
    second, hybrid, *_ = hybrid_to_proto2(received(headers=b'{"id":"2"}'), body)

    embed = {"callbacks": None, "errbacks": None, "chord": None, "chain": None}
    assert first == second == ([1], {"a": 2}, embed)
    assert (headers["group"], headers["retries"], is_decoded, utc) == ("g", 0, True, False)
    assert (hybrid["id"], hybrid["task"]) == ("2", "t")
    with pytest.raises(InvalidTaskError):
        proto1_to_proto2(received(), {"kwargs": 3})
