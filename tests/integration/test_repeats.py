"""``worker_deduplicate_successful_tasks``: what has succeeded is not run when it comes again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_worker_faults import LEASE, working
from umbel import Umbel, chord
from umbel.canvas.follow_up import after_success
from umbel.wire import tasks as wire


@pytest.fixture(params=["memory", "sqlite"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    url = f"{request.param}://{'/' if request.param == 'sqlite' else ''}{tmp_path / 'q'}"
    app = Umbel("test", broker=url, backend=url, set_as_current=False)
    app.conf.update(worker_lease=LEASE, worker_deduplicate_successful_tasks=True)

    app.ran = []  # type: ignore[attr-defined]

    @app.task(name="pay", acks_late=True)
    def pay(amount: int) -> str:
        app.ran.append(amount)  # type: ignore[attr-defined]
        return "by the second"

    @app.task(name="body")
    def body(found: list[str]) -> list[str]:
        return found

    app.dead = []  # type: ignore[attr-defined]
    yield app
    for broker in app.dead:  # type: ignore[attr-defined]
        await broker.close()
    await app.aclose()


async def die_after_storing(app: Any, count: int, state: str = "SUCCESS") -> None:
    """What a worker leaves behind that is killed between a result and its acknowledgement."""
    broker, backend = app.make_broker(), app.make_backend()
    await broker.open()
    await backend.open()
    taken: list[Any] = []
    while len(taken) < count:
        taken += await broker.receive(["celery"], limit=count, wait=5)
    requests = [
        wire.decode(delivery, key=0, accept=app.accept, limit=app.decompress_limit)
        for delivery in taken
    ]
    await backend.store([app.codec.state(one, state, "by the first") for one in requests])
    await backend.close()
    # Nothing is given back, as nobody can who is dead: the leases run out.
    app.dead.append(broker)


async def test_a_task_that_has_succeeded_is_not_run_when_it_is_delivered_again(
    app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    result = await app.tasks["pay"].adelay(1)
    await die_after_storing(app, 1)

    async with working(app) as worker:
        await worker.settled(1)

    assert app.ran == []
    assert await result.aget(timeout=60) == "by the first"
    assert f"Task pay[{result.id}] Task already completed successfully." in caplog.messages


@pytest.mark.parametrize("case", ["not asked for", "it has failed", "sent again"])
async def test_everything_else_is_run(app: Any, case: str) -> None:
    result = await app.tasks["pay"].adelay(1)
    if case == "not asked for":
        app.conf.worker_deduplicate_successful_tasks = False
    if case == "sent again":
        async with working(app) as worker:
            await worker.settled(1)
        await app.tasks["pay"].aapply_async((1,), task_id=result.id)
    else:
        await die_after_storing(app, 1, "FAILURE" if case == "it has failed" else "SUCCESS")

    async with working(app) as worker:
        await worker.settled(1)

    assert app.ran == ([1, 1] if case == "sent again" else [1])


async def test_a_member_of_a_chord_is_run_so_that_the_chord_ends(app: Any) -> None:
    pay, body = app.tasks["pay"], app.tasks["body"]
    result = await chord([pay.s(1), pay.s(2)], body.s()).aapply_async()
    await die_after_storing(app, 2)

    async with working(app):
        assert await result.aget(timeout=60) == ["by the second"] * 2

    assert sorted(app.ran) == [1, 2]


async def test_what_follows_a_task_that_is_run_again_is_not_run_again(tmp_path: Path) -> None:
    """Broker and result backend cannot commit together: a worker published what follows a task, and
    died before it acknowledged; what follows has been run since."""
    app = Umbel(
        "test",
        broker=f"memory://{tmp_path}/broker",
        backend=f"sqlite:///{tmp_path}/results",
        set_as_current=False,
    )
    app.conf.update(worker_lease=LEASE)
    ran: list[str] = []

    @app.task(name="first", acks_late=True)
    def first() -> int:
        ran.append("first")
        return len(ran)

    @app.task(name="second", acks_late=True)
    def second(value: int) -> int:
        ran.append("second")
        return value

    result = await (first.s() | second.s()).aapply_async()
    died, backend = app.make_broker(), app.make_backend()
    await died.open()
    await backend.open()
    [delivery] = await died.receive(["celery"], limit=1, wait=5)
    request = wire.decode(delivery, key=0, accept=app.accept, limit=app.decompress_limit)
    body = wire.read_body(request, accept=app.accept, limit=app.decompress_limit)
    follow_up = after_success(
        1, id=request.id, root_id=request.root_id, callbacks=None, chain=body.chain
    )
    await died.publish(app.encode_steps(follow_up.steps))
    try:
        async with working(app) as worker:
            await worker.settled(3)

        assert ran == ["second", "first"]
        assert await result.aget(timeout=60) == 1
    finally:
        await died.close()
        await backend.close()
        await app.aclose()
