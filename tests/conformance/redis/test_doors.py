"""How one gets in: addresses, passwords, sockets, certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import redis as redis_py

from umbel import Umbel
from umbel.clock import SystemClock
from umbel.drivers.redis.backend import RedisBackend
from umbel.drivers.redis.broker import RedisBroker
from umbel.exceptions import BackendUnavailable, BrokerUnavailable, ImproperlyConfigured
from umbel.model import Message, ResultRecord
from umbel.testing.certificates import Authority
from umbel.testing.conformance.messages import ids
from umbel.testing.servers import RedisServer, free_port, redis_server


def messages(*names: str, **fields: Any) -> list[Message]:
    return [Message(id=name, body=b"[]", routing_key="mail", **fields) for name in names]


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("redis://:secret@127.0.0.1:1/0", "connection refused"),
        ("redis://:secret@no-such-host.invalid/0", "host name is not known"),
        ("unix:///nowhere/redis.sock", "no such socket"),
    ],
)
async def test_an_unreachable_redis_is_named_without_its_password(
    url: str, cause: str, system_clock: SystemClock
) -> None:
    broker = RedisBroker(url, clock=system_clock, max_retries=0)
    backend = RedisBackend(url, clock=system_clock, max_retries=0)

    with pytest.raises(BrokerUnavailable, match=cause) as first:
        await broker.open()
    with pytest.raises(BackendUnavailable, match=cause) as second:
        await backend.load(["x"])

    assert "secret" not in str(first.value) + str(second.value)
    await broker.close()
    await backend.close()


async def test_passwords_and_sockets_open_the_door(system_clock: SystemClock) -> None:
    with redis_server("--requirepass", "s3cret") as server:
        wrong = RedisBroker(server.url(login=":wrong"), clock=system_clock)
        with pytest.raises(BrokerUnavailable, match="wrong user name or password"):
            await wrong.open()
        missing = RedisBroker(server.url(), clock=system_clock)
        with pytest.raises(BrokerUnavailable, match="asks for a password"):
            await missing.open()
        for url in (
            server.url(3, login=":s3cret"),
            server.url(3, login="default:s3cret"),
            f"unix://:s3cret@{server.socket_path}?db=3",
            f"redis+socket://:s3cret@{server.socket_path}?virtual_host=3",
        ):
            right = RedisBroker(url, clock=system_clock)
            await right.publish(messages("a"))
            assert ids(await right.receive(["mail"], limit=1, wait=1)) == ["a"]
            await right.close()
            await right.open()
            await right.purge(["mail"])
            await right.close()


@pytest.mark.parametrize("url", ["http://x", "redis://x:port", "redis://x/mail"])
def test_a_url_that_is_none_of_redis_is_refused(url: str, system_clock: SystemClock) -> None:
    with pytest.raises(ImproperlyConfigured):
        RedisBroker(url, clock=system_clock)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(authority: Authority) -> Iterator[RedisServer]:
    """A server that speaks TLS, and asks clients for a certificate."""
    identity = authority.issue("redis")
    port = free_port()
    with redis_server(
        *("--tls-port", str(port), "--tls-cert-file", identity.cert),
        *("--tls-key-file", identity.key, "--tls-ca-cert-file", authority.cert),
    ) as server:
        server.port = port
        yield server


@pytest.fixture
def keys(authority: Authority) -> dict[str, str]:
    """What opens the door of the secured server."""
    identity = authority.issue("client")
    return {
        "ssl_ca_certs": authority.cert,
        "ssl_certfile": identity.cert,
        "ssl_keyfile": identity.key,
    }


def url_of(secured: RedisServer, keys: dict[str, str], **more: str) -> str:
    return f"rediss://127.0.0.1:{secured.port}/1?{urlencode({**keys, **more})}"


async def passes(url: str, options: dict[str, Any] | None = None) -> bool:
    """A message and a result go in and come out, and somebody hears of it."""
    clock = SystemClock()
    broker = RedisBroker(url, clock=clock, transport_options=options, max_retries=0)
    backend = RedisBackend(url, clock=clock, transport_options=options, max_retries=0)
    body = b'{"status": "SUCCESS", "result": "' + bytes(b"x" * 300_000) + b'"}'
    try:
        await broker.publish(messages("a"))
        got = await broker.receive(["mail"], limit=1, wait=5)
        async with backend.watch(["r"]) as changes, asyncio.timeout(30):
            await backend.store([ResultRecord(id="r", state="SUCCESS", body=body)])
            (heard,) = await anext(changes)
        await backend.forget(["r"])
        return not await broker.ack(got) and heard.body == body
    finally:
        await broker.close()
        await backend.close()


async def test_encrypted_connections_carry_everything(
    secured: RedisServer, keys: dict[str, str]
) -> None:
    assert await passes(url_of(secured, keys, ssl_cert_reqs="required"))
    assert await passes(url_of(secured, keys, ssl_cert_reqs="CERT_NONE"))
    # As broker_use_ssl and redis_backend_use_ssl say it.
    asked = {"ssl": {**keys, "ssl_cert_reqs": ssl.CERT_REQUIRED}}
    assert await passes(f"rediss://127.0.0.1:{secured.port}/1", asked)
    assert await passes(f"redis://127.0.0.1:{secured.port}/1", asked)


async def test_a_server_that_nobody_vouches_for_is_not_talked_to(
    secured: RedisServer, keys: dict[str, str]
) -> None:
    without = {name: file for name, file in keys.items() if name != "ssl_ca_certs"}
    with pytest.raises(BrokerUnavailable, match="ssl_ca_certs says whom to trust"):
        await passes(url_of(secured, without))


async def test_a_certificate_for_another_host_is_refused_unless_names_are_not_checked(
    authority: Authority, keys: dict[str, str]
) -> None:
    elsewhere, port = authority.issue("elsewhere", hosts=["redis.example.com"]), free_port()
    with redis_server(
        *("--tls-port", str(port), "--tls-cert-file", elsewhere.cert),
        *("--tls-key-file", elsewhere.key, "--tls-ca-cert-file", authority.cert),
    ) as server:
        server.port = port
        with pytest.raises(BrokerUnavailable, match=r"not valid for '127\.0\.0\.1'"):
            await passes(url_of(server, keys))
        assert await passes(url_of(server, keys, ssl_check_hostname="false"))


async def test_a_client_without_a_certificate_is_not_let_in(
    secured: RedisServer, authority: Authority
) -> None:
    # When and how a server says no depends on the versions of TLS.
    with pytest.raises(BrokerUnavailable, match=f"Redis at rediss://127.0.0.1:{secured.port}"):
        await passes(url_of(secured, {"ssl_ca_certs": authority.cert}))


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("redis://h/0?ssl_cert_reqs=none", {}, "write rediss://"),
        ("rediss://h/0?ssl_cert_reqs=maybe", {}, "'none', 'optional' or 'required'"),
        ("rediss://h/0?ssl_ca_certs=/nowhere.pem", {}, "cannot encrypt as asked"),
        ("sentinel://h", {}, "master_name"),
        ("redis+cluster://h/3", {}, "no databases"),
        ("redis://h;sentinel://h", {"master_name": "m"}, "all of one kind"),
        ("redis://h", {"max_connections": 1}, "at least 2"),
        ("redis://h", {"socket_timeout": "soon"}, "socket_timeout is 'soon'"),
        ("redis://h", {"sentinel_fanout_compat": True}, "before 5.4"),
        ("redis://h", {"credential_provider": "no.such.Thing"}, "cannot import"),
        ("redis://h", {"credential_provider": "builtins.dict"}, "get_credentials"),
        ("redis://h", {"queue_order_strategy": "random"}, "round_robin"),
    ],
)
def test_what_cannot_be_had_as_asked_is_refused(
    url: str, options: dict[str, Any], said: str, system_clock: SystemClock
) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        RedisBroker(url, clock=system_clock, transport_options=options)


def test_an_option_that_redis_does_not_know_is_mentioned(
    system_clock: SystemClock, caplog: pytest.LogCaptureFixture
) -> None:
    RedisBroker("redis://h", clock=system_clock, transport_options={"socket_timout": 3})

    assert "did you mean 'socket_timeout'?" in caplog.text


async def test_a_user_with_a_password_of_his_own_gets_in(system_clock: SystemClock) -> None:
    with redis_server() as server:
        with redis_py.Redis(port=server.port) as client:
            client.execute_command(
                "ACL", "SETUSER", "anna", "on", ">p@ss/word", "~*", "&*", "+@all"
            )
            client.execute_command("ACL", "SETUSER", "default", "off")
        assert await passes(server.url(login="anna:p%40ss%2Fword"))
        with pytest.raises(BrokerUnavailable, match="wrong user name or password"):
            await passes(server.url(login="anna:password"))
        # As redis_username and redis_password say it, where the URL says nothing.
        assert await passes(server.url(), {"username": "anna", "password": "p@ss/word"})


class Vault:
    """Gives another password every time, as a cloud's identity service does."""

    given = 0

    def get_credentials(self) -> tuple[str, str]:
        Vault.given += 1
        return "anna", "secret"


async def test_a_credential_provider_is_asked_for_every_connection() -> None:
    with redis_server() as server:
        with redis_py.Redis(port=server.port) as client:
            client.execute_command("ACL", "SETUSER", "anna", "on", ">secret", "~*", "&*", "+@all")
            client.execute_command("ACL", "SETUSER", "default", "off")
        assert await passes(server.url(), {"credential_provider": Vault})

    # One of the broker, two of the result backend.
    assert Vault.given == 3


async def test_several_servers_are_tried_in_turn(redis_url: str) -> None:
    assert await passes(f"redis://127.0.0.1:1/0;{redis_url}")


async def test_the_url_may_say_what_options_say(
    redis: RedisServer, redis_url: str, server: redis_py.Redis, system_clock: SystemClock
) -> None:
    broker = RedisBroker(f"{redis_url}?client_name=shop&socket_keepalive=no", clock=system_clock)
    await broker.open()

    assert "shop" in {client["name"] for client in server.client_list()}
    await broker.close()


@pytest.mark.parametrize("keepalive", [True, False])
async def test_the_operating_system_looks_after_connections_unless_told_not_to(
    redis_url: str, system_clock: SystemClock, keepalive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []
    loop = asyncio.get_running_loop()
    create = loop.create_connection

    async def noted(*args: Any, **kwargs: Any) -> Any:
        transport, protocol = await create(*args, **kwargs)
        made.append(transport.get_extra_info("socket"))
        return transport, protocol

    monkeypatch.setattr(loop, "create_connection", noted)
    options = {"socket_keepalive": keepalive, "socket_keepalive_options": {socket.TCP_KEEPIDLE: 7}}
    broker = RedisBroker(redis_url, clock=system_clock, transport_options=options)
    await broker.open()

    assert bool(made[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is keepalive
    assert made[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
    await broker.close()


def test_the_settings_open_the_door_of_broker_and_result_backend(
    secured: RedisServer, keys: dict[str, str]
) -> None:
    app = Umbel(
        "test",
        broker=f"redis://127.0.0.1:{secured.port}/2",
        backend="redis",
        broker_use_ssl=keys,
        redis_backend_use_ssl=keys,
        redis_host="127.0.0.1",
        redis_port=secured.port,
        redis_db=3,
        redis_client_name="results",
        redis_socket_timeout=5,
        redis_max_connections=20,
        set_as_current=False,
    )
    with app:
        result = app.send_task("noop")
        assert result.state == "PENDING"


def test_where_the_broker_keeps_the_results_they_are_got_in_the_same_way(
    secured: RedisServer, keys: dict[str, str]
) -> None:
    url = f"redis://127.0.0.1:{secured.port}/2"
    with Umbel("test", broker=url, broker_use_ssl=keys, set_as_current=False) as app:
        assert app.send_task("noop").state == "PENDING"
