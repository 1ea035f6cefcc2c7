"""Channels one connection listens to, for as many listeners as like."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import hiredis

from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.link import pack
from umbel.exceptions import BackendError, OperationalError

__all__ = ["Inbox", "Subscriptions", "subscribe"]

Item = TypeVar("Item")

_DEAF_FOR = 1.0
"""Seconds between two attempts to listen again while Redis is away."""


class Inbox(Generic[Item]):
    """What has arrived for one listener, until it fetches it: an asynchronous iterator of batches.

    Args:
        bound: Most items to keep; the oldest go first. None: all.
    """

    __slots__ = ("_arrived", "_bound", "_failure", "_waiter")

    def __init__(self, bound: int | None = None) -> None:
        self._bound = bound
        self._arrived: list[Item] = []
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> Inbox[Item]:
        return self

    async def __anext__(self) -> list[Item]:
        while True:
            if self._arrived:
                arrived, self._arrived = self._arrived, []
                return arrived
            if self._failure is not None:
                raise self._failure
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def take(self, limit: int) -> list[Item]:
        """What has arrived, at most ``limit`` items, without waiting."""
        taken = self._arrived[:limit]
        del self._arrived[:limit]
        return taken

    def add(self, item: Item) -> None:
        """Hand over an item."""
        self._arrived.append(item)
        if self._bound is not None and len(self._arrived) > self._bound:
            del self._arrived[: self._bound // 2]
        self._wake()

    def fail(self, exc: Exception) -> None:
        """Say that nothing more will come."""
        self._failure = exc
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Subscriptions(Generic[Item]):
    """Subscribes to a name while anybody listens to it, again after a lost connection.

    Args:
        client: Listens and does nothing else: Redis drops a subscriber that is behind by 32 MB,
            and large replies over the same connection would count.
        begin: Makes the names heard over the client.
        end: The command that ends it: ``UNSUBSCRIBE`` or ``PUNSUBSCRIBE``.
    """

    def __init__(
        self,
        client: Client,
        *,
        begin: Callable[[Sequence[str]], Awaitable[None]],
        end: str,
    ) -> None:
        self._client = client
        self._begin = begin
        self._end = end
        self._listeners_by_name: dict[str, list[Inbox[Item]]] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._disturbed = asyncio.Event()

    def listeners(self, name: str) -> Sequence[Inbox[Item]]:
        """Who listens to a name."""
        return self._listeners_by_name.get(name, ())

    async def enter(self, names: Sequence[str], listener: Inbox[Item]) -> None:
        """Listen, from before this returns; :meth:`leave` even when it fails."""
        for name in names:
            self._listeners_by_name.setdefault(name, []).append(listener)
        if names:
            await self._begin(names)
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def leave(self, names: Sequence[str], listener: Inbox[Item]) -> None:
        """Listen no longer. What nobody else listens to is unsubscribed, without waiting for it."""
        deserted: list[str] = []
        for name in names:
            listeners = self._listeners_by_name.get(name, [])
            if listener in listeners:
                listeners.remove(listener)
                if not listeners:
                    del self._listeners_by_name[name]
                    deserted.append(name)
        if deserted:
            self._client.mention(pack(self._end, *deserted), 0)

    async def close(self, reason: Exception) -> None:
        """Stop; whoever still listens is told the reason."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        self._fail_all(reason)

    def disturb(self) -> None:
        """The connection is lost, and with it all subscriptions."""
        self._disturbed.set()

    async def _keep(self) -> None:
        """Renew the subscriptions after a loss."""
        is_deaf = False
        while True:
            try:
                async with asyncio.timeout(_DEAF_FOR if is_deaf else None):
                    await self._disturbed.wait()
            except TimeoutError:
                pass
            # Cleared first: a loss while we renew sets it again.
            self._disturbed.clear()
            try:
                if self._listeners_by_name:
                    await self._begin(list(self._listeners_by_name))
                is_deaf = False
            except (BackendError, OperationalError) as exc:
                # Lost once more (then we are here again at once), or the driver gave up.
                if not self._disturbed.is_set():
                    is_deaf = True
                    self._fail_all(exc)

    def _fail_all(self, exc: Exception) -> None:
        for listeners in self._listeners_by_name.values():
            for listener in listeners:
                listener.fail(exc)


async def subscribe(client: Client, command: str, names: Sequence[str], look: bytes) -> object:
    """Subscribe and, in the same round trip, look at something; what was seen.

    Raises:
        The client's error: No connection, or not allowed.
    """
    # RESP3 confirms subscriptions by pushes: the only reply is that of the look.
    (seen,) = await client.send(pack(command, *names) + look, 1, again=True)
    if isinstance(seen, hiredis.ReplyError):
        raise client.failure(seen, doing=command.lower())
    return seen
