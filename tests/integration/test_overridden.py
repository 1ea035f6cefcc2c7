"""Tasks whose class overrides ``apply_async`` are sent through it, wherever they are sent from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.test_workflows import working
from umbel import AsyncResult, Task, Umbel, chain, chord, group


class OfTenant(Task[..., Any]):
    """Says in a header whose work it is, as packages for several tenants do."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        options["headers"] = {**(options.get("headers") or {}), "tenant": "acme"}
        return super().apply_async(args, kwargs, **options)


@pytest.fixture
def app(tmp_path: Any) -> Iterator[Umbel]:
    url = f"memory://{tmp_path}"
    app = Umbel("shop", broker=url, backend=url, set_as_current=False)

    @app.task(bind=True, base=OfTenant, name="whose")
    def whose(self: Any, *_: Any) -> str:
        return str((self.request.headers or {}).get("tenant"))

    @app.task(bind=True, base=OfTenant, name="whose_all")
    def whose_all(self: Any, others: list[str]) -> list[str]:
        return [*others, str((self.request.headers or {}).get("tenant"))]

    @app.task(name="plain")
    def plain(*_: Any) -> None:
        pass

    with working(app):
        yield app


@pytest.mark.parametrize("workflow", ["group", "chain", "chord", "later link", "nested"])
def test_every_task_of_a_workflow_is_sent_through_its_own_apply_async(
    app: Umbel, workflow: str
) -> None:
    whose, whose_all, plain = (app.tasks[name] for name in ("whose", "whose_all", "plain"))
    made: dict[str, Any] = {
        "group": group(whose.s() for _ in range(3)),
        "chain": chain(plain.s(), whose.s()),
        "chord": chord([whose.s(), whose.s()], whose_all.s()),
        "later link": chain(plain.s(), group(whose.s(), whose.s())),
        "nested": chain(chord([whose.si(), plain.si() | whose.si()], whose_all.s()), whose.s()),
    }

    found = made[workflow].apply_async().get(timeout=60)

    flat = found if isinstance(found, list) else [found]
    assert set(flat) == {"acme"}


def test_callbacks_are_sent_through_their_own_apply_async(app: Umbel) -> None:
    callback = app.tasks["whose"].s().set(task_id="the-callback")

    app.tasks["plain"].apply_async(link=callback)

    assert app.AsyncResult("the-callback").get(timeout=60) == "acme"


def test_calls_in_batches_and_from_coroutines_are_too(app: Umbel) -> None:
    whose = app.tasks["whose"]

    async def from_coroutines() -> list[Any]:
        results = [await whose.adelay(), await whose.aapply_async(task_id="mine")]
        results += await whose.aapply_many([(1,), (2,)])
        results += await app.asend_many([whose.s()])
        results.append(await group(whose.s(), whose.s()).aapply_async())
        return [await result for result in results]

    assert asyncio.run(from_coroutines()) == [*["acme"] * 5, ["acme", "acme"]]
    results = [*whose.apply_many([(1,), (2,)]), *app.send_many([whose.s()])]
    assert [result.get(timeout=60) for result in results] == ["acme"] * 3


def test_what_an_override_does_not_send_is_not_sent(app: Umbel) -> None:
    class Once(Task[..., Any]):
        abstract = True

        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            return AsyncResult("the-first", app=self.app)

    @app.task(base=Once, name="once")
    def once() -> None:
        raise AssertionError("nobody sends it")

    async def from_a_coroutine() -> Any:
        return await once.adelay()

    assert asyncio.run(from_a_coroutine()).id == "the-first"
    assert once.apply_many([()]) == []
    group(once.s(), app.tasks["whose"].s().set(task_id="beside")).delay()
    assert app.AsyncResult("beside").get(timeout=60) == "acme"


def test_what_a_package_puts_around_all_tasks_reaches_members_of_workflows(
    app: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    own, own_send = Task.apply_async, Umbel.send_task

    def noting(self: Any, *args: Any, **options: Any) -> Any:
        sent.append(self.name)
        return own(self, *args, **options)

    def noting_send(self: Any, name: str, *args: Any, **options: Any) -> Any:
        sent.append(name)
        return own_send(self, name, *args, **options)

    monkeypatch.setattr(Task, "apply_async", noting)
    monkeypatch.setattr(Umbel, "send_task", noting_send)
    group(app.tasks["plain"].s(), app.signature("elsewhere", app=app)).delay()

    assert sent == ["plain", "elsewhere"]
