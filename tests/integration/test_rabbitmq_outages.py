"""A RabbitMQ that is killed, falls silent, or asks for TLS: work goes on by itself."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.measured import LONG
from umbel import Umbel
from umbel.drivers.rabbitmq.connection import ClientOptions
from umbel.exceptions import BrokerBlocked, OperationalError
from umbel.testing.certificates import Authority
from umbel.testing.proxy import Proxy
from umbel.testing.servers import RabbitMQServer, rabbitmq_server

from .site import Site

NOTICED_WITHIN = 30.0 if LONG else 40.0
"""Seconds after which a connection whose packets are all dropped is replaced by another."""

TASKS = """
import os
from umbel import Umbel

app = Umbel("shop")
if os.environ.get("HEARTBEAT"):
    app.conf.broker_heartbeat = float(os.environ["HEARTBEAT"])
if os.environ.get("AUTHORITY"):
    app.conf.broker_use_ssl = {"ca_certs": os.environ["AUTHORITY"]}
notes = os.open("notes", os.O_APPEND | os.O_CREAT | os.O_WRONLY)


@app.task(name="note", acks_late=True)
def note(number):
    os.write(notes, f"{number}\\n".encode())
    return number


@app.task(name="twice", bind=True, acks_late=True, max_retries=None)
def twice(self, number):
    if self.request.retries < 1:
        raise self.retry(countdown=0)
    os.write(notes, f"{number}\\n".encode())
    return number


@app.task(name="early")
def early(number):
    os.write(notes, f"{number}\\n".encode())
    return number
"""


@pytest.fixture
def server() -> Iterator[RabbitMQServer]:
    with rabbitmq_server() as server:
        yield server


@pytest.mark.slow
def test_every_task_whose_sending_returned_is_run_although_rabbitmq_was_killed(
    server: RabbitMQServer, redis_url: str, tmp_path: Path
) -> None:
    site = Site(tmp_path, server.url(), TASKS, backend=redis_url)
    sent: list[int] = []
    over = threading.Event()

    def produce() -> None:
        with Umbel("producer", broker=server.url(), backend=redis_url) as sender:
            sender.conf.task_publish_retry_policy = {"max_retries": None, "interval_max": 0.2}
            while not over.is_set():
                number = len(sent)
                name = "note" if number % 2 else "early"
                sender.send_task(name, (number,), ignore_result=True)
                sent.append(number)
                time.sleep(0.001)

    try:
        site.ready("-c", "2")
        producer = threading.Thread(target=produce)
        producer.start()
        returns: list[float] = []
        for _ in range(2):
            before = len(site.started())
            site.until(lambda: len(site.started()) > before + 100, "it works")  # noqa: B023
            server.kill()
            server.start()
            back, known = time.monotonic(), len(site.started())
            site.until(lambda: len(site.started()) > known, "it works again")  # noqa: B023
            returns.append(time.monotonic() - back)
        over.set()
        producer.join()
        site.until(lambda: set(site.started()) >= set(sent), "all that were sent have run")
    finally:
        over.set()
        site.close()

    assert len(sent) > 200
    assert max(returns) < 5, returns


def test_a_rabbitmq_short_of_memory_tells_who_sends_and_lets_workers_wait_with_what_they_send(
    server: RabbitMQServer, redis_url: str, tmp_path: Path
) -> None:
    site = Site(tmp_path, server.url(), TASKS, backend=redis_url)
    try:
        site.app.conf.broker_transport_options = {"confirm_timeout": 2}
        early = site.app.send_task("early", (4,))
        waiting = [site.app.send_task("twice", (number,)) for number in range(1, 4)]
        plain = [site.app.send_task("note", (number,)) for number in range(10, 40)]
        server.control("set_vm_memory_high_watermark", "0.000001")
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(BrokerBlocked, match="taken no messages for 2 s: low on memory"):
                site.app.send_task("early", (5,), ignore_result=True)
            # Once, and not as often as a publish is repeated while nobody answers.
            assert time.monotonic() - began < 7
        site.ready("-c", "1")
        assert early.get(timeout=60) == 4
        # They come after those whose next try RabbitMQ does not take.
        assert [each.get(timeout=60) for each in plain] == [*range(10, 40)]
        assert not any(each.ready() for each in waiting)

        server.control("set_vm_memory_high_watermark", "0.4")

        assert [each.get(timeout=60) for each in waiting] == [1, 2, 3]
        assert site.app.send_task("early", (6,)).get(timeout=60) == 6
    finally:
        site.close()
    assert sorted(site.started()) == [1, 2, 3, 4, 6, *range(10, 40)]


def test_silence_is_noticed_within_half_a_minute_by_default() -> None:
    """What the next test measures, when it is given the time."""
    # Two beats without a sign of life, seen half a beat later; then a new connection.
    options = ClientOptions()
    assert 2.5 * options.heartbeat + options.connect_timeout < 30


@pytest.mark.slow
def test_a_half_open_connection_is_noticed_and_work_goes_on(
    server: RabbitMQServer, redis_url: str, tmp_path: Path
) -> None:
    with Proxy(server.port) as wire:
        url = f"amqp://guest:guest@127.0.0.1:{wire.port}//"
        site = Site(tmp_path, url, TASKS, backend=redis_url)
        if not LONG:
            site.app.conf.broker_heartbeat = 2
        try:
            site.ready("-c", "1", **({} if LONG else {"HEARTBEAT": "2"}))
            assert site.app.send_task("note", (1,)).get(timeout=60) == 1

            wire.forget()
            began = time.monotonic()
            with Umbel("outside", broker=server.url(), backend=redis_url) as outside:
                assert outside.send_task("note", (2,)).get(timeout=60) == 2
            elapsed = time.monotonic() - began
            # The client's own connection was silent, too.
            assert site.app.send_task("early", (3,)).get(timeout=60) == 3
        finally:
            site.close()

    assert elapsed < NOTICED_WITHIN


def test_the_wire_is_encrypted_and_the_server_must_prove_itself(
    redis_url: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ours")
    stranger = Authority(tmp_path / "theirs")
    key, cert = authority.issue("rabbitmq")
    with rabbitmq_server(tls=(authority.cert, cert, key)) as server:
        site = Site(tmp_path, server.tls_url(), TASKS, backend=redis_url)
        try:
            site.app.conf.broker_use_ssl = {"ca_certs": authority.cert}
            site.ready("-c", "1", AUTHORITY=authority.cert)
            assert site.app.send_task("note", (7,)).get(timeout=60) == 7
            with Umbel("other", broker=server.tls_url(), backend=redis_url) as other:
                other.conf.broker_use_ssl = {"ca_certs": stranger.cert}
                other.conf.task_publish_retry = False
                with pytest.raises(OperationalError, match="certificate is not trusted"):
                    other.send_task("note", (8,))
            assert site.end(site.processes[0], signal.SIGTERM) == 0
        finally:
            site.close()


async def test_both_ends_may_have_to_show_a_certificate(tmp_path: Path, redis_url: str) -> None:
    authority = Authority(tmp_path / "ours")
    key, cert = authority.issue("rabbitmq")
    client = authority.issue("client")
    with rabbitmq_server(
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = true",
        tls=(authority.cert, cert, key),
    ) as server:
        app = Umbel("both", broker=server.tls_url(), backend=redis_url, set_as_current=False)
        app.conf.task_publish_retry = False
        app.conf.broker_use_ssl = {
            "ca_certs": authority.cert,
            "certfile": client.cert,
            "keyfile": client.key,
        }
        await app.asend_task("note", (1,))
        await app.aclose()
        bare = Umbel("bare", broker=server.tls_url(), backend=redis_url, set_as_current=False)
        bare.conf.task_publish_retry = False
        bare.conf.broker_use_ssl = {"ca_certs": authority.cert}
        async with asyncio.timeout(30):
            with pytest.raises(OperationalError):
                await bare.asend_task("note", (2,))
        await bare.aclose()
