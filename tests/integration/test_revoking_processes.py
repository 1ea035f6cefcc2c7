"""Revoking tasks that run in processes, and remembering it over a restart."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import pytest

from umbel.exceptions import TaskRevokedError

from .site import EARLY_AND_LATE, Site

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def site(make_site: Callable[[str, str], Site]) -> Site:
    return make_site("sqlite", EARLY_AND_LATE)


@pytest.mark.parametrize("name", ["early", "late"])
@pytest.mark.parametrize("number", ["TERM", "SIGKILL"])
def test_terminating_ends_the_process_and_the_task_never_runs_again(
    site: Site, name: str, number: str
) -> None:
    process = site.ready("-c", "1")
    running = site.app.send_task(name, (1, 60.0))
    site.until(lambda: site.started() == [1], "the task has started")

    assert site.order("revoke", running.id, terminate=True, signal=number) == [running.id]
    with pytest.raises(TaskRevokedError, match="terminated"):
        running.get(timeout=60)
    assert site.app.send_task(name, (2,)).get(timeout=60) == 2
    assert site.end(process, signal.SIGTERM) == 0

    assert site.started() == [1, 2]
    assert f"Terminating {running.id}" in site.log.read_text()


def test_a_state_file_remembers_revokes_over_a_restart(
    make_site: Callable[[str, str], Site],
) -> None:
    # A broker that cannot hold them.
    site = make_site("rabbitmq", EARLY_AND_LATE)
    options = ("-c", "1", "--statedb", "%n.state")
    process = site.ready(*options)
    waiting = site.app.send_task("early", (1,), queue="other")
    site.order("revoke", waiting.id)
    process.kill()
    process.wait(60)
    assert (site.folder / "celery.state").exists()

    process = site.ready(*options, "-Q", "other")
    last = site.app.send_task("early", (2,), queue="other")

    assert last.get(timeout=60) == 2
    assert site.started() == [2]
    assert "Discarding revoked task" in site.log.read_text()
    assert site.end(process, signal.SIGTERM) == 0
