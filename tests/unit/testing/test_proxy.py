"""A wire that breaks in each of the ways that wires break."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from umbel.testing.proxy import Proxy


class Echo:
    """A server that says everything back, and what it has heard."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard = b""
        self.ended: list[str] = []
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while piece := connection.recv(65536):
                self.heard += piece
                connection.sendall(piece)
            self.ended.append("in order")
            connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            self.ended.append("reset")
        except OSError:
            self.ended.append("closed")

    def hang_up(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.hang_up()
        self._listener.close()
        for connection in self._connections:
            connection.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as made:
        yield made


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with connect(proxy) as made:
        yield made


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 5.0)


def ask(client: socket.socket, said: bytes) -> bytes:
    client.sendall(said)
    answer = b""
    while len(answer) < len(said):
        piece = client.recv(65536)
        if not piece:
            break
        answer += piece
    return answer


def assert_silent(client: socket.socket) -> None:
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(5.0)


def test_what_goes_in_comes_out_whole_and_in_order(proxy: Proxy, client: socket.socket) -> None:
    said = bytes(range(256)) * 4000

    sender = threading.Thread(target=client.sendall, args=(said,))
    sender.start()
    answer = b""
    while len(answer) < len(said):
        answer += client.recv(65536)
    sender.join()

    assert answer == said
    assert proxy.passed == {"to_server": len(said), "to_client": len(said)}


def test_an_end_is_passed_on(echo: Echo, client: socket.socket) -> None:
    assert ask(client, b"hello") == b"hello"

    client.shutdown(socket.SHUT_WR)

    assert client.recv(1) == b""
    assert echo.ended == ["in order"]


def test_a_cut_resets_both_ends_and_new_connections_work(
    echo: Echo, proxy: Proxy, client: socket.socket
) -> None:
    assert ask(client, b"hello") == b"hello"

    proxy.cut()

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert proxy.connections == 0
    proxy.wait_for(lambda _: echo.ended == ["reset"])
    with connect(proxy) as other:
        assert ask(other, b"again") == b"again"
    proxy.wait_for(lambda _: len(echo.ended) == 2)


def test_a_refusing_proxy_lets_nobody_in_until_it_is_healed(
    proxy: Proxy, client: socket.socket
) -> None:
    assert ask(client, b"hello") == b"hello"

    proxy.refuse()

    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    assert ask(client, b"still here") == b"still here"
    proxy.heal()
    with connect(proxy) as other:
        assert ask(other, b"back") == b"back"


def test_what_is_stalled_arrives_later(echo: Echo, proxy: Proxy, client: socket.socket) -> None:
    assert ask(client, b"a") == b"a"

    proxy.stall()
    client.sendall(b"b")

    assert_silent(client)
    assert echo.heard == b"a"
    proxy.heal()
    assert client.recv(1) == b"b"


def test_a_black_hole_tells_nobody_of_anything(
    echo: Echo, proxy: Proxy, client: socket.socket
) -> None:
    assert ask(client, b"a") == b"a"

    proxy.blackhole()
    client.sendall(b"b")
    echo.hang_up()

    assert_silent(client)
    with connect(proxy) as other:
        other.sendall(b"c")
        assert_silent(other)
        assert echo.heard == b"a"
        proxy.heal()
        for dead in (client, other):
            with pytest.raises(ConnectionResetError):
                dead.recv(1)
    with connect(proxy) as fresh:
        assert ask(fresh, b"d") == b"d"


@pytest.mark.parametrize("count", [1, 5, 9])
def test_the_wire_is_cut_after_so_many_bytes(
    echo: Echo, proxy: Proxy, client: socket.socket, count: int
) -> None:
    proxy.cut_after(count)

    with suppress(ConnectionError):
        ask(client, b"123456789")
        client.recv(1)

    proxy.wait_for(lambda _: bool(echo.ended))
    assert b"123456789"[:count].startswith(echo.heard)
    assert proxy.passed["to_server"] == count
    assert proxy.cuts == 1
    with connect(proxy) as other:
        assert ask(other, b"again") == b"again"


def test_latency_counts_each_way_and_keeps_the_order(proxy: Proxy, client: socket.socket) -> None:
    proxy.latency = 0.1

    began = time.monotonic()
    answer = ask(client, b"ab")

    assert time.monotonic() - began >= 0.2
    assert answer == b"ab"


def test_what_is_muted_arrives_nowhere_and_the_other_way_works(
    echo: Echo, proxy: Proxy, client: socket.socket
) -> None:
    assert ask(client, b"hello") == b"hello"

    proxy.mute("to_client")
    client.sendall(b"anybody?")

    assert_silent(client)
    assert echo.heard == b"helloanybody?"
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with connect(proxy) as fresh:
        assert ask(fresh, b"again") == b"again"


def test_what_is_forgotten_stays_silent_and_new_connections_work(
    proxy: Proxy, client: socket.socket
) -> None:
    assert ask(client, b"hello") == b"hello"

    proxy.forget()
    client.sendall(b"anybody?")

    assert_silent(client)
    with connect(proxy) as fresh:
        assert ask(fresh, b"again") == b"again"
