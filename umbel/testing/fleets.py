"""Several Redis servers that look after each other: Sentinels, and a cluster."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import hiredis

from umbel.drivers.redis.link import pack
from umbel.testing.servers import RedisServer, free_port, redis_server

__all__ = ["RedisCluster", "RedisSentinels", "ask", "redis_cluster", "redis_sentinels"]

_PATIENCE = 60.0
_SLOTS = 16384


class RedisSentinels:
    """A master and a replica, and three Sentinels that look after them.

    Args:
        master, replica, sentinels: Servers that run.
        password: Of the first two.
    """

    master_name = "umbel-master"

    def __init__(
        self, master: RedisServer, replica: RedisServer, sentinels: list[RedisServer], password: str
    ) -> None:
        self.master = master
        self.replica = replica
        self.sentinels = sentinels
        self.password = password

    def url(self, db: int = 0, *, login: str = "") -> str:
        """Where to find the Sentinels, as a broker URL; ``login`` opens the master."""
        at = f"{login}@" if login else ""
        return ";".join(f"sentinel://{at}127.0.0.1:{one.port}/{db}" for one in self.sentinels)

    def master_port(self) -> int:
        """The port of the server that the Sentinels call the master now."""
        for sentinel in self.sentinels:
            try:
                found = ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master_name)
            except OSError:
                continue
            return int(found[1])
        raise RuntimeError("no Sentinel answers")


@contextmanager
def redis_sentinels(password: str = "") -> Generator[RedisSentinels]:
    """A master, a replica and three Sentinels, removed at the end.

    Args:
        password: Of the master and the replica.

    Raises:
        ServerMissing: There is no ``redis-server`` on this machine.
    """
    secret = ("--requirepass", password, "--masterauth", password) if password else ()
    with ExitStack() as stack:
        master = stack.enter_context(redis_server(*secret))
        replica = stack.enter_context(
            redis_server("--replicaof", "127.0.0.1", str(master.port), *secret)
        )
        name = RedisSentinels.master_name
        sentinels = [stack.enter_context(redis_server("--sentinel")) for _ in range(3)]
        for one in sentinels:
            ask(one, "SENTINEL", "MONITOR", name, "127.0.0.1", master.port, 2)
            for option, value in (
                ("down-after-milliseconds", 1000),
                ("failover-timeout", 5000),
                *((("auth-pass", password),) if password else ()),
            ):
                ask(one, "SENTINEL", "SET", name, option, value)
        fleet = RedisSentinels(master, replica, sentinels, password)
        _until(
            lambda: all(
                ask(one, "SENTINEL", "CKQUORUM", name).startswith(b"OK 3")
                and len(ask(one, "SENTINEL", "REPLICAS", name)) == 1
                for one in sentinels
            ),
            "the Sentinels do not find each other",
        )
        yield fleet


class RedisCluster:
    """Three nodes with a third of the slots each."""

    def __init__(self, nodes: list[RedisServer]) -> None:
        self.nodes = nodes

    def url(self) -> str:
        """Where to find the nodes, as a broker URL."""
        return ";".join(f"redis+cluster://127.0.0.1:{node.port}" for node in self.nodes)

    def node_of(self, slot: int) -> RedisServer:
        """The node that has a slot."""
        for first, last, (_, port, *_), *_ in ask(self.nodes[0], "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise RuntimeError(f"nobody has slot {slot}")

    def move(self, slot: int, to: RedisServer) -> None:
        """Move a slot with all its keys to another node, as an administrator does."""
        source = self.node_of(slot)
        name = ask(to, "CLUSTER", "MYID").decode()
        ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", ask(source, "CLUSTER", "MYID").decode())
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", name)
        while keys := ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            ask(source, "MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source, *self.nodes):
            ask(node, "CLUSTER", "SETSLOT", slot, "NODE", name)


@contextmanager
def redis_cluster() -> Generator[RedisCluster]:
    """Three nodes that know each other and serve all slots, removed at the end.

    Raises:
        ServerMissing: There is no ``redis-server`` on this machine.
    """
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(
                redis_server("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            )
            for _ in range(3)
        ]
        third = _SLOTS // 3 + 1
        for place, node in enumerate(nodes):
            last = min((place + 1) * third, _SLOTS) - 1
            ask(node, "CLUSTER", "ADDSLOTSRANGE", place * third, last)
            ask(node, "CLUSTER", "SET-CONFIG-EPOCH", place + 1)
        for node in nodes[1:]:
            bus = ask(node, "CONFIG", "GET", "cluster-port")[1].decode()
            ask(nodes[0], "CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        _until(
            lambda: (
                all(b"cluster_state:ok" in ask(node, "CLUSTER", "INFO") for node in nodes)
                and all(len(ask(node, "CLUSTER", "SLOTS")) == 3 for node in nodes)
            ),
            "the cluster does not come up",
        )
        yield RedisCluster(nodes)


def ask(server: RedisServer, *command: str | bytes | float, login: str = "", db: int = 0) -> Any:
    """One command; its reply.

    Args:
        login: The password.

    Raises:
        RuntimeError: The server refuses.
    """
    commands = [*((("AUTH", login),) if login else ()), *((("SELECT", db),) if db else ()), command]
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    reply: Any = None
    with socket.create_connection(("127.0.0.1", server.port), 10.0) as connection:
        for each in commands:
            connection.sendall(pack(*each))
            while (reply := reader.gets()) is Ellipsis:
                data = connection.recv(65536)
                if not data:
                    raise ConnectionError("the server closed the connection")
                reader.feed(data)
            if isinstance(reply, hiredis.ReplyError):
                said = " ".join(map(str, each))
                raise RuntimeError(f"{said}: {reply}")  # noqa: TRY004 - it is one
    return reply


def _until(claim: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            if claim():
                return
        except (OSError, RuntimeError):
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise)
        time.sleep(0.05)
