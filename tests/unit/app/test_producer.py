"""Group commit: what is sent at once goes out together, and everyone learns their own fate."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from umbel import Task, Umbel
from umbel.clock import ManualClock
from umbel.exceptions import BatchError, BrokerUnavailable, OperationalError
from umbel.testing.faults import applied_then_raising, raising

from .conftest import MakeApp, Shop
from .test_app import in_threads

AWAY = raising(BrokerUnavailable("the broker is away"))


@pytest.fixture
def task(app: Shop) -> Task[..., None]:
    made: Task[..., None] = app.task(name="it")(lambda *args: None)
    return made


def args_of(app: Shop) -> list[Any]:
    return [letter.body.args[0] for letter in app.letters]


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what it waits for are steps of this loop
            await asyncio.sleep(0)


async def test_calls_at_once_become_batches(app: Shop, task: Task[..., None]) -> None:
    app.post.gate.clear()
    calls = [asyncio.create_task(task.adelay(n)) for n in range(100)]
    await until(lambda: app.post.started)
    for _ in range(5):
        await asyncio.sleep(0)
    app.post.gate.set()
    results = await asyncio.gather(*calls)
    await app.aclose()

    assert [len(batch) for batch in app.post.batches] == [1, 99]
    assert args_of(app) == list(range(100))
    assert [message.id for message in app.sent] == [result.id for result in results]


async def test_a_lonely_call_waits_for_nobody(app: Shop, task: Task[..., None]) -> None:
    for n in range(3):
        await task.adelay(n)
    await app.aclose()

    assert [len(batch) for batch in app.post.batches] == [1, 1, 1]


async def test_the_company_of_a_failed_batch_hears_of_it(app: Shop, task: Task[..., None]) -> None:
    app.plan.on("publish", 2, AWAY)
    app.post.gate.clear()
    calls = [asyncio.create_task(task.aapply_async((n,), retry=False)) for n in range(5)]
    await until(lambda: app.post.started)
    app.post.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    await app.aclose()

    assert not isinstance(outcomes[0], Exception)
    assert all(isinstance(outcome, OperationalError) for outcome in outcomes[1:])
    assert args_of(app) == [0]


async def test_a_retrying_caller_among_them_is_not_held_to_anothers_policy(
    app: Shop, task: Task[..., None], clock: ManualClock
) -> None:
    app.plan.on("publish", 2, AWAY)
    app.post.gate.clear()
    first = asyncio.create_task(task.adelay(0))
    await until(lambda: app.post.started)
    hasty = asyncio.create_task(task.aapply_async((1,), retry=False))
    patient = asyncio.create_task(task.aapply_async((2,), retry=True))
    for _ in range(3):
        await asyncio.sleep(0)
    app.post.gate.set()
    outcomes = await asyncio.gather(first, hasty, patient, return_exceptions=True)
    await app.aclose()

    assert isinstance(outcomes[1], OperationalError)
    assert not isinstance(outcomes[2], Exception)
    assert args_of(app) == [0, 2]


async def test_any_error_of_a_driver_reaches_everyone_in_the_batch(
    app: Shop, task: Task[..., None]
) -> None:
    app.plan.on("publish", 2, raising(OSError("odd")))
    app.post.gate.clear()
    calls = [asyncio.create_task(task.adelay(n)) for n in range(4)]
    await until(lambda: app.post.started)
    app.post.gate.set()
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)
    await app.aclose()

    assert not isinstance(outcomes[0], Exception)
    assert all(isinstance(outcome, OSError) for outcome in outcomes[1:])


async def test_refused_messages_are_their_own_callers_alone(
    app: Shop, task: Task[..., None]
) -> None:
    # The second batch holds calls 1 to 3 and the many; 0 of the many is its message 3.
    refusal = BatchError("refused two", {1: ValueError("one"), 4: ValueError("many")})
    app.plan.on("publish", 2, applied_then_raising(refusal))
    app.post.gate.clear()
    calls: list[asyncio.Task[Any]] = [asyncio.create_task(task.adelay(n)) for n in range(4)]
    await until(lambda: app.post.started)
    calls.append(asyncio.create_task(task.aapply_many([(10,), (11,)])))
    for _ in range(3):
        await asyncio.sleep(0)
    app.post.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    await app.aclose()

    failed = {i: error.errors for i, error in enumerate(outcomes) if isinstance(error, BatchError)}
    assert {i: [str(e) for e in errors.values()] for i, errors in failed.items()} == {
        2: ["one"],
        4: ["many"],
    }
    assert list(failed[2]) == [0]
    assert list(failed[4]) == [1]


async def test_the_sender_of_a_batch_hears_of_its_own_refusals(
    app: Shop, task: Task[..., None]
) -> None:
    app.plan.on("publish", 2, raising(BatchError("refused", {0: ValueError("first")})))
    app.post.gate.clear()
    calls = [asyncio.create_task(task.adelay(n)) for n in range(3)]
    await until(lambda: app.post.started)
    app.post.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    await app.aclose()

    assert isinstance(outcomes[1], BatchError)
    assert list(outcomes[1].errors) == [0]
    assert not isinstance(outcomes[2], Exception)


def test_refusals_of_many_are_indexed_across_batches(app: Shop, task: Task[..., None]) -> None:
    app.plan.on("publish", 1, raising(BatchError("refused", {5: ValueError("five")})))
    app.plan.on("publish", 3, raising(BatchError("refused", {1: ValueError("later")})))

    with pytest.raises(BatchError, match="2 of 2500") as caught:
        task.apply_many([(n,) for n in range(2500)])

    assert {i: str(why) for i, why in caught.value.errors.items()} == {5: "five", 2001: "later"}
    assert len(app.post.batches) == 1


def test_an_outage_amid_many_repeats_only_what_is_not_out(app: Shop, task: Task[..., None]) -> None:
    app.plan.on("publish", 2, AWAY)
    task.apply_many([(n,) for n in range(2500)], retry_policy={"interval_start": 0})

    assert args_of(app) == list(range(2500))


async def test_a_patient_caller_does_not_hold_up_a_hasty_one(
    app: Shop, task: Task[..., None]
) -> None:
    app.plan.always("publish", AWAY)
    forever = {"max_retries": None, "interval_start": 1000, "interval_max": 1000}
    patient = asyncio.create_task(task.aapply_async((1,), retry_policy=forever))
    await until(lambda: app.plan.calls("publish"))

    with pytest.raises(OperationalError):
        await asyncio.wait_for(task.aapply_async((2,), retry=False), 30)
    patient.cancel()
    await asyncio.gather(patient, return_exceptions=True)
    await app.aclose()


async def test_a_cancelled_sender_does_not_lose_the_others_messages(
    app: Shop, task: Task[..., None]
) -> None:
    app.post.gate.clear()
    first = asyncio.create_task(task.adelay(0))
    await until(lambda: app.post.started == 1)
    second, third = (asyncio.create_task(task.adelay(n)) for n in (1, 2))
    await asyncio.sleep(0)
    first.cancel()
    await until(lambda: app.post.started == 2)
    # Now the second one sends its own and the third one's.
    second.cancel()
    await until(lambda: app.post.started == 3)
    app.post.gate.set()
    outcomes = await asyncio.wait_for(
        asyncio.gather(first, second, third, return_exceptions=True), 10
    )
    later = await task.adelay(3)
    await app.aclose()

    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert outcomes[2].id in {message.id for message in app.sent}
    assert later.id == app.sent[-1].id


async def test_a_caller_cancelled_while_it_waits_sends_nothing_and_holds_up_nobody(
    app: Shop, task: Task[..., None]
) -> None:
    app.post.gate.clear()
    calls = [asyncio.create_task(task.adelay(n)) for n in range(4)]
    await until(lambda: app.post.started == 1)
    calls[1].cancel()
    calls[2].cancel()
    await asyncio.sleep(0)
    app.post.gate.set()
    await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)
    await app.aclose()

    assert args_of(app) == [0, 3]


async def test_a_caller_cancelled_as_its_turn_comes_passes_it_on(
    app: Shop, task: Task[..., None]
) -> None:
    loop = asyncio.get_running_loop()

    async def publish_and_cancel_the_next(call: Any) -> None:
        await call()
        # Runs between the moment the turn is given to the next one and the moment it wakes.
        loop.call_soon(second.cancel)

    app.plan.on("publish", 1, publish_and_cancel_the_next)
    app.post.gate.clear()
    first = asyncio.create_task(task.adelay(0))
    await until(lambda: app.post.started == 1)
    second, third = (asyncio.create_task(task.adelay(n)) for n in (1, 2))
    await asyncio.sleep(0)
    app.post.gate.set()
    outcomes = await asyncio.wait_for(
        asyncio.gather(first, second, third, return_exceptions=True), 10
    )
    await asyncio.wait_for(task.adelay(4), 30)
    await app.aclose()

    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert args_of(app) == [0, 2, 4]


async def test_storms_of_cancellation_lose_nothing_that_was_reported_sent(
    app: Shop, task: Task[..., None]
) -> None:
    import random

    chance = random.Random(7)
    calls: list[asyncio.Task[Any]] = []
    for n in range(400):
        calls.append(asyncio.create_task(task.adelay(n)))
        if chance.random() < 0.4:
            chance.choice(calls).cancel()
        if chance.random() < 0.3:
            await asyncio.sleep(0)
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)
    await app.aclose()

    sent = {message.id for message in app.sent}
    reported = {result.id for result in outcomes if not isinstance(result, BaseException)}
    assert reported
    assert reported <= sent


def test_an_absent_broker_is_an_error_after_as_many_tries_as_the_policy_allows(
    make_app: MakeApp,
) -> None:
    app = make_app()
    app.plan.always("publish", AWAY)
    task = app.task(name="it")(lambda: None)

    with pytest.raises(OperationalError, match="the broker is away"):
        task.apply_async(retry_policy={"max_retries": 2, "interval_step": 0, "interval_start": 0})
    assert app.plan.calls("publish") == 3
    with pytest.raises(Task.OperationalError):
        task.apply_async(retry=False)
    assert app.plan.calls("publish") == 4


def test_the_settings_decide_where_the_call_does_not(make_app: MakeApp) -> None:
    app = make_app(task_publish_retry_policy={"max_retries": 1, "interval_step": 0})
    app.plan.always("publish", AWAY)
    task = app.task(name="it")(lambda: None)

    with pytest.raises(OperationalError):
        task.delay()
    assert app.plan.calls("publish") == 2
    app.conf.task_publish_retry = False
    with pytest.raises(OperationalError):
        app.send_task("it")
    assert app.plan.calls("publish") == 3


async def test_the_pauses_grow_up_to_the_longest(
    app: Shop, task: Task[..., None], clock: ManualClock
) -> None:
    app.plan.always("publish", AWAY)
    policy = {"max_retries": 4, "interval_start": 1, "interval_step": 2, "interval_max": 4}
    call = asyncio.create_task(task.aapply_async((1,), retry_policy=policy))
    calls = []
    for seconds in (0.5, 0.5, 2.9, 0.1, 4, 4):
        await until(lambda: clock._sleepers or call.done())
        await clock.advance(seconds)
        calls.append(app.plan.calls("publish"))
    with pytest.raises(OperationalError):
        await call
    await app.aclose()

    assert calls == [1, 2, 2, 3, 4, 5]


async def test_a_broker_that_comes_back_gets_the_message_once(
    app: Shop, task: Task[..., None], clock: ManualClock
) -> None:
    app.plan.on("publish", 1, AWAY)
    app.plan.on("publish", 2, AWAY)
    call = asyncio.create_task(task.adelay(1))
    while not call.done():
        await clock.advance(1)
        await asyncio.sleep(0)
    await app.aclose()

    assert args_of(app) == [1]


@pytest.mark.parametrize(
    "policy", [{"max_retries": "many"}, {"interval_start": None}, {"max_retires": 3}]
)
def test_a_wrong_policy_is_refused_with_its_name(
    app: Shop, task: Task[..., None], policy: dict[str, Any]
) -> None:
    with pytest.raises((TypeError, ValueError), match="retry_policy"):
        task.apply_async(retry_policy=policy)
    assert app.sent == []


def test_celerys_own_policy_options_are_accepted(app: Shop, task: Task[..., None]) -> None:
    task.apply_async(
        (1,),
        retry_policy={
            "max_retries": None,
            "interval_start": 0,
            "retry_errors": (OSError,),
        },
    )
    assert len(app.sent) == 1


def test_an_unreachable_broker_is_reported_soon_without_the_password() -> None:
    app = Umbel("shop", broker="redis://:secret@127.0.0.1:1/0", set_as_current=False)
    started = time.monotonic()

    with pytest.raises(OperationalError, match=r"127\.0\.0\.1:1") as caught:
        app.send_task("it")
    app.close()

    assert time.monotonic() - started < 30
    assert "secret" not in str(caught.value)


def test_threads_share_the_outbox(app: Shop, task: Task[..., None]) -> None:
    in_threads(6, lambda number: [task.delay(number * 100 + n) for n in range(50)])

    assert sorted(args_of(app)) == sorted(k * 100 + n for k in range(6) for n in range(50))


def test_each_loop_has_an_outbox_of_its_own(app: Shop, task: Task[..., None]) -> None:
    async def send(number: int) -> None:
        await asyncio.gather(*(task.adelay(number) for _ in range(20)))
        await app.aclose()

    in_threads(3, lambda number: asyncio.run(send(number)))
    task.delay(9)

    assert sorted(args_of(app)) == [0] * 20 + [1] * 20 + [2] * 20 + [9]
