"""Sending tasks while the broker is away, and from wherever programs send: it ends, and well."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.exceptions import OperationalError
from umbel.signals import before_task_publish
from umbel.testing.proxy import Proxy
from umbel.testing.servers import rabbitmq_server, redis_server

PROGRAMS = Path(__file__).parent / "programs"
SECRET = "s3cret"
FAST = {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.1}


class Site:
    """A broker behind a wire that can be cut, and results on a Redis that is always there."""

    def __init__(self, broker: Proxy, url: str, backend: str) -> None:
        self.wire = broker
        self.url = url
        self.backend = backend
        self.apps: list[Umbel] = []

    def app(self, **settings: Any) -> Umbel:
        app = Umbel("sender", broker=self.url, backend=self.backend, set_as_current=False)
        app.conf.update(broker_connection_timeout=1, **settings)
        self.apps.append(app)
        return app

    def go_away(self) -> None:
        self.wire.refuse()
        self.wire.cut()

    def waiting(self, queue: str = "celery") -> int:
        """How many messages have arrived."""

        async def count() -> int:
            app = self.app()
            broker = app.make_broker()
            await broker.open()
            try:
                return (await broker.stats([queue]))[queue].ready
            finally:
                await broker.close()

        return asyncio.run(count())


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], tuple[int, str]]]:
    """The port of a broker of either kind, and the URL of a Redis, started when first asked for."""
    with ExitStack() as stack:
        ports: dict[str, int] = {}

        def start(kind: str) -> tuple[int, str]:
            if "backend" not in ports:
                ports["backend"] = stack.enter_context(redis_server()).port
            if kind not in ports:
                if kind == "redis":
                    server = stack.enter_context(redis_server("--requirepass", SECRET))
                    ports[kind] = server.port
                else:
                    ports[kind] = stack.enter_context(rabbitmq_server()).port
            return ports[kind], f"redis://127.0.0.1:{ports['backend']}/0"

        yield start


@pytest.fixture(params=["redis", "rabbitmq"])
def site(
    request: pytest.FixtureRequest, servers: Callable[[str], tuple[int, str]]
) -> Iterator[Site]:
    port, backend = servers(request.param)
    with Proxy(port) as wire:
        at = f"127.0.0.1:{wire.port}"
        if request.param == "redis":
            url = f"redis://:{SECRET}@{at}/0"
        else:
            url = f"amqp://guest:guest@{at}//"
        site = Site(wire, url, backend)
        with_broker = site.app()
        purge(with_broker)
        yield site
        wire.heal()
        for app in site.apps:
            app.close()


def purge(app: Umbel) -> None:
    async def purge() -> None:
        broker = app.make_broker()
        await broker.open()
        await broker.declare(app.queues(["celery", "routed"]))
        await broker.purge(["celery", "routed"])
        await broker.close()

    asyncio.run(purge())


def test_sending_while_the_broker_is_away_ends_with_a_sentence_that_helps(site: Site) -> None:
    app = site.app(task_publish_retry_policy=FAST)
    app.send_task("noop")
    site.go_away()

    started = time.monotonic()
    with pytest.raises(OperationalError) as raised:
        app.send_task("noop")
    elapsed = time.monotonic() - started

    said = str(raised.value)
    assert f"127.0.0.1:{site.wire.port}" in said
    assert "refused" in said
    assert SECRET not in said
    assert "guest:guest" not in said
    # Two pauses; the rest is a machine that has other things to do.
    assert 0.3 <= elapsed < 60

    site.wire.heal()
    assert app.send_task("noop").id
    assert site.waiting() == 2


def test_a_silent_broker_is_given_up_within_the_policys_bound(site: Site) -> None:
    app = site.app(task_publish_retry=False)
    site.wire.blackhole()

    started = time.monotonic()
    with pytest.raises(OperationalError, match=f"127.0.0.1:{site.wire.port}"):
        app.send_task("noop")

    assert 0.9 <= time.monotonic() - started < 60
    site.wire.heal()
    app.send_task("noop")
    assert site.waiting() == 1


def test_a_broker_that_comes_back_while_it_is_tried_gets_the_message(site: Site) -> None:
    app = site.app(
        task_publish_retry_policy={"max_retries": None, "interval_step": 0.02, "interval_max": 0.05}
    )
    site.go_away()
    sent: list[str] = []
    sender = threading.Thread(target=lambda: sent.append(app.send_task("noop").id))
    sender.start()
    sender.join(0.3)
    assert sender.is_alive()

    site.wire.heal()
    sender.join(60)

    assert len(sent) == 1
    assert site.waiting() == 1


@pytest.mark.parametrize("where", ["call", "app", "route", "router"])
def test_how_often_it_is_tried_is_said_by_call_app_and_route(site: Site, where: str) -> None:
    policy = {"max_retries": 2, "interval_start": 0.4, "interval_step": 0, "interval_max": 1}
    settings: dict[str, Any] = {"task_publish_retry": False}
    options: dict[str, Any] = {}
    insistence = {"retry": True, "retry_policy": policy}
    if where == "call":
        options = insistence
    elif where == "app":
        settings = {"task_publish_retry_policy": policy}
    elif where == "route":
        settings["task_routes"] = {"noop": {"queue": "routed", **insistence}}
    else:
        settings["task_routes"] = [lambda *_, **__: {"queue": "routed", **insistence}]
    app = site.app(**settings)
    site.go_away()

    started = time.monotonic()
    with pytest.raises(OperationalError):
        app.send_task("noop", **options)
    insisted = time.monotonic() - started
    started = time.monotonic()
    with pytest.raises(OperationalError):
        app.send_task("noop", **{**options, "retry": False})
    at_once = time.monotonic() - started

    assert insisted >= 0.8
    assert at_once < insisted


@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_greenlets_send_without_hanging_and_without_stopping_the_others(
    site: Site, kind: str
) -> None:
    program = subprocess.run(
        [sys.executable, "-W", "ignore", PROGRAMS / "greenlets.py", kind, site.url, site.backend],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert program.returncode == 0, program.stderr
    said = json.loads(program.stdout)
    # A second of waiting for a result is a hundred ticks of another greenlet, or there about.
    assert (said["sent"], said["failure"], said["ticks"] > 10) == (200, "TimeoutError", True), said
    assert site.waiting() == 200


def test_threads_send_at_once(site: Site) -> None:
    app = site.app()

    def send() -> None:
        for _ in range(20):
            app.send_task("noop")

    threads = [threading.Thread(target=send) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert site.waiting() == 200


def test_a_forked_child_and_its_parent_both_send(site: Site) -> None:
    app = site.app()
    app.send_task("noop")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            app.send_task("noop")
            status = 0
        finally:
            os._exit(status)
    app.send_task("noop")
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert site.waiting() == 3


def test_multiprocessing_children_send(site: Site) -> None:
    app = site.app()
    app.send_task("noop")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=app.send_task, args=("noop",)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)

    assert [child.exitcode for child in children] == [0, 0, 0]
    assert site.waiting() == 4


def test_code_below_a_running_loop_sends(site: Site) -> None:
    app = site.app()

    async def main() -> None:
        app.send_task("noop")
        await app.asend_task("noop")
        await asyncio.gather(*(asyncio.to_thread(app.send_task, "noop") for _ in range(3)))
        await app.aclose()

    asyncio.run(main())

    assert site.waiting() == 5


def test_a_receiver_of_a_signal_sends_another_task(site: Site) -> None:
    app = site.app()

    def also(sender: str, **_: Any) -> None:
        if sender == "first":
            app.send_task("second")

    before_task_publish.connect(also)
    try:
        app.send_task("first")
    finally:
        before_task_publish.disconnect(also)

    assert site.waiting() == 2
