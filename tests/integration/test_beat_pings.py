"""Schedulers that answer pings, for umbel's command line and for Celery's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import celery
import pytest

from umbel import Umbel
from umbel.beat.answering import Answering
from umbel.beat.service import EmbeddedService

from .site import Site

PATIENCE = 60.0
"""Seconds that anything may take here."""


@pytest.fixture(params=["sqlite", "redis", "rabbitmq"])
def url(request: pytest.FixtureRequest, url_of: Callable[[str], str]) -> str:
    return url_of(request.param)


@pytest.fixture
def site(tmp_path: Path, url: str) -> Iterator[Site]:
    site = Site(tmp_path, url, "from umbel import Umbel\napp = Umbel('shop')\n")
    yield site
    site.close()


def test_a_scheduler_answers_pings_and_nothing_else(site: Site) -> None:
    command = [sys.executable, "-m", "umbel", "-A", "tasks", "beat", "-n", "main@here"]
    with site.log.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--enable-remote-control"],
            cwd=site.folder,
            env={**os.environ, "UMBEL_BROKER_URL": site.url},
            stdout=log,
            stderr=log,
        )
    try:
        ask = site.app.control.inspect(["main@here"], timeout=2.0)
        pongs: list[Any] = []

        def answered() -> bool:
            pongs.append(ask.ping())
            return pongs[-1] is not None

        site.until(answered, "the scheduler answers")
        assert pongs[-1] == {"main@here": {"ok": "pong"}}
        assert site.app.control.inspect(["main@here"], timeout=0.5).stats() is None
        assert "remote control -> main@here" in site.log.read_text()
        if not site.url.startswith("sqlite"):
            theirs = celery.Celery("client", broker=site.url, set_as_current=False)
            assert theirs.control.inspect(["main@here"], timeout=5.0, limit=1).ping() == pongs[-1]
            theirs.close()
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_scheduler_in_a_thread_answers_where_the_setting_says_so() -> None:
    app = Umbel("shop", broker="memory://pings", set_as_current=False)
    app.conf.beat_enable_remote_control = True
    service = EmbeddedService(app, max_interval=0.1, hostname="inside@here")
    service.start()
    try:
        replies = app.control.ping(timeout=PATIENCE)
        while not replies:
            replies = app.control.ping(timeout=PATIENCE)
        assert replies == [{"inside@here": {"ok": "pong"}}]
    finally:
        service.stop()
        app.close()


def test_a_stuck_scheduler_is_silent() -> None:
    app = Umbel("shop", broker="memory://stuck", set_as_current=False)
    app.conf.beat_remote_control_max_tick_age = 5
    looked_at = app.wall_clock.monotonic()
    node = Answering(app, hostname="here", interval=1.0, looked_at=lambda: looked_at)
    node.start()
    try:
        while not app.control.ping(timeout=PATIENCE):
            pass
        looked_at -= 6
        assert app.control.ping(timeout=0.5) == []
        app.conf.beat_remote_control_max_tick_age = 0
        looked_at += 6
        assert app.control.ping(timeout=PATIENCE) == [{"celerybeat@here": {"ok": "pong"}}]
    finally:
        node.stop()
        app.close()


def test_how_long_a_scheduler_may_be_silent_follows_its_interval() -> None:
    app = Umbel("shop", broker="memory://ages", set_as_current=False)

    def is_stuck(interval: float, age: float) -> bool:
        looked_at = app.wall_clock.monotonic() - age
        return Answering(
            app, hostname=None, interval=interval, looked_at=lambda: looked_at
        ).is_stuck()

    assert not is_stuck(5, 59)
    assert is_stuck(5, 61)
    assert not is_stuck(300, 599)
    assert is_stuck(300, 601)
    app.conf.beat_remote_control_max_tick_age = 0
    assert not is_stuck(5, 10_000)
