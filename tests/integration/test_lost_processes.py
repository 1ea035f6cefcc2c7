"""Tasks whose process is lost, in worker processes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import pytest

from umbel.exceptions import WorkerLostError

from .site import Site

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

TASKS = """
import os, signal
from umbel import Umbel

app = Umbel("shop")
notes = os.open("notes", os.O_APPEND | os.O_CREAT | os.O_WRONLY)


@app.task(
    name="falls", bind=True, max_retries=2, default_retry_delay=0, retry_on_worker_lost=True
)
def falls(self, times):
    os.write(notes, f"{self.request.retries}\\n".encode())
    if self.request.retries < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return self.request.retries


@app.task(name="after")
def after(number):
    return number * 10
"""


@pytest.fixture(params=["sqlite", "redis"])
def site(request: pytest.FixtureRequest, make_site: Callable[[str, str], Site]) -> Site:
    return make_site(request.param, TASKS)


def test_a_task_whose_process_is_lost_is_retried_as_often_as_it_may_be(site: Site) -> None:
    process = site.ready("-c", "1")
    rising = site.app.signature("falls", (2,), link=site.app.signature("after")).apply_async()
    assert rising.get(timeout=30) == 2
    assert site.started() == [0, 1, 2]

    falling = site.app.send_task("falls", (3,))
    with pytest.raises(WorkerLostError):
        falling.get(timeout=30)

    assert site.started() == [0, 1, 2] * 2
    assert "retry: Retry in 0" in site.log.read_text()
    assert site.end(process, signal.SIGTERM) == 0
