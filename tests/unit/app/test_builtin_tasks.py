"""The tasks that every app has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from umbel import Umbel
from umbel.clock import ManualClock


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Umbel]:
    url = f"memory://{tmp_path}" if request.param == "memory" else f"sqlite:///{tmp_path}/q.db"
    with Umbel("shop", broker=url, backend=url, set_as_current=False, clock=clock) as made:
        yield made


def test_clean_up_deletes_what_has_expired(app: Umbel, clock: ManualClock) -> None:
    app.conf.result_expires = 60
    task = app.task(name="it")(lambda: None)
    clean_up = app.tasks["celery.backend_cleanup"]
    task.update_state(task_id="old", state="DONE")
    asyncio.run(clock.advance(50))
    task.update_state(task_id="new", state="DONE")
    assert clean_up() == 0
    asyncio.run(clock.advance(20))

    assert clean_up() == 1
    assert app.AsyncResult("old").state == "PENDING"
    assert app.AsyncResult("new").state == "DONE"


def test_results_without_end_are_never_deleted(app: Umbel, clock: ManualClock) -> None:
    app.conf.result_expires = None
    app.task(name="it")(lambda: None).update_state(task_id="old", state="DONE")
    asyncio.run(clock.advance(10**8))

    assert app.tasks["celery.backend_cleanup"]() == 0
    assert app.AsyncResult("old").state == "DONE"


def test_every_app_has_the_task_under_celerys_name(app: Umbel) -> None:
    assert "celery.backend_cleanup" in app.tasks
