"""Rate limits, in place: nothing waits for a limited task, and nothing is lost by waiting."""

from __future__ import annotations

import time
from functools import partial

import pytest

from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured, NotRegistered
from umbel.worker import Worker

from . import in_place

working = partial(in_place.working, concurrency=1)


@pytest.mark.parametrize("late", [False, True])
async def test_limited_tasks_keep_their_pace_and_hold_nobody_back(app: Umbel, late: bool) -> None:
    moments: list[float] = []

    @app.task(rate_limit="10/s", acks_late=late)
    def limited() -> None:
        moments.append(time.monotonic())

    @app.task
    def free() -> int:
        return len(moments)

    await limited.aapply_many([()] * 40)
    others = [await free.adelay() for _ in range(20)]
    async with working(app) as worker:
        assert max([await other.aget(timeout=60) for other in others]) < 30
        await worker.settled(60)

    assert len(moments) == 40
    assert moments[39] - moments[0] > 3
    for place in range(30):
        assert moments[place + 10] - moments[place] > 0.5


async def test_a_limit_can_change_while_tasks_wait(app: Umbel) -> None:
    @app.task(name="limited", rate_limit="1/h")
    def limited() -> int:
        return 1

    async with working(app) as worker:
        results = [await limited.adelay() for _ in range(3)]
        await worker.settled(1)
        worker.set_rate_limit("limited", "100/s")
        await worker.settled(2)
        worker.set_rate_limit("limited", None)
        more = [await limited.adelay() for _ in range(20)]

        assert [await result.aget(timeout=60) for result in more] == [1] * 20
        with pytest.raises(NotRegistered):
            worker.set_rate_limit("nobody.knows", "1/s")
        with pytest.raises(ValueError, match="'often' is not a rate limit"):
            worker.set_rate_limit("limited", "often")
    assert len(results) == 3


async def test_what_waits_for_its_turn_goes_back_when_the_worker_ends(app: Umbel) -> None:
    @app.task(name="limited", rate_limit="1/h")
    def limited() -> int:
        return 1

    results = await limited.aapply_many([()] * 2)
    async with working(app) as worker:
        await worker.settled(1)

    app.conf.worker_disable_rate_limits = True
    async with working(app):
        assert [await result.aget(timeout=60) for result in results] == [1, 1]


async def test_the_default_limit_and_annotations_are_obeyed(app: Umbel) -> None:
    app.conf.task_annotations = {"annotated": {"rate_limit": "2/h"}}
    app.conf.task_default_rate_limit = "1/h"

    @app.task(name="annotated")
    def annotated() -> None:
        """Nothing."""

    @app.task(name="plain")
    def plain() -> None:
        """Nothing."""

    async with working(app) as worker:
        assert worker.state.rates.limits("annotated")
        assert worker.state.rates.limits("plain")


async def test_a_limit_that_is_none_stops_the_worker_and_names_the_task(app: Umbel) -> None:
    @app.task(name="odd", rate_limit="often")
    def odd() -> None:
        """Nothing."""

    with pytest.raises(ImproperlyConfigured, match="rate_limit of task 'odd': 'often' is not"):
        await Worker(app, pool="threads", quiet=True).arun()
