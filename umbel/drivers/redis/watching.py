"""Waiting for results: one connection that listens for everybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import hiredis

from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.link import Push, pack
from umbel.exceptions import BackendUnavailable
from umbel.model import ResultRecord

__all__ = ["Watches"]


class _Watch:
    """One caller's results, until it fetches them."""

    __slots__ = ("_arrived", "_failure", "_waiter", "keys")

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = keys
        self._arrived: list[ResultRecord] = []
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> AsyncIterator[list[ResultRecord]]:
        return self

    async def __anext__(self) -> list[ResultRecord]:
        while True:
            if self._arrived:
                arrived, self._arrived = self._arrived, []
                return arrived
            if self._failure is not None:
                raise self._failure
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def add(self, record: ResultRecord) -> None:
        """Hand over a record."""
        self._arrived.append(record)
        self._wake()

    def fail(self, exc: Exception) -> None:
        """Say that nothing more will come."""
        self._failure = exc
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Watches:
    """Subscriptions shared by all who watch, renewed when the connection was lost.

    Args:
        client: Listens and does nothing else: Redis drops a subscriber that is behind by 32 MB,
            and large results loaded over the same connection would count.
        find: Loads what there is of keys, over another connection.
        read: The record of a key and its document.
        health_interval: Seconds between two looks at whether the connection still stands.
    """

    def __init__(
        self,
        client: Client,
        *,
        find: Callable[[Sequence[str]], Awaitable[Mapping[str, ResultRecord]]],
        read: Callable[[str, bytes], ResultRecord],
        health_interval: float,
    ) -> None:
        self._client = client
        self._find = find
        self._read = read
        self._health_interval = health_interval
        self._watches_by_key: dict[str, list[_Watch]] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._disturbed = asyncio.Event()

    @asynccontextmanager
    async def watch(self, keys: Sequence[str]) -> AsyncGenerator[AsyncIterator[list[ResultRecord]]]:
        """The records of ``keys``: those there already, then each change."""
        watch = _Watch(list(dict.fromkeys(keys)))
        for key in watch.keys:
            self._watches_by_key.setdefault(key, []).append(watch)
        try:
            if watch.keys:
                await self._look(watch.keys)
            if self._keeper is None:
                self._keeper = asyncio.get_running_loop().create_task(self._keep())
            yield watch
        finally:
            self._leave(watch)

    async def close(self) -> None:
        """Stop listening; whoever still waits is told."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        self._fail_all(BackendUnavailable("the result backend was closed while it was watched"))
        await self._client.close()

    def heard(self, push: Push) -> None:
        """Take in a message that Redis sent."""
        if push[0] == b"message":
            key = push[1].decode()
            watches = self._watches_by_key.get(key)
            if watches:
                record = self._read(key, push[2])
                for watch in watches:
                    watch.add(record)

    def disturb(self) -> None:
        """The connection is lost, and with it all subscriptions."""
        self._disturbed.set()

    async def _look(self, keys: Sequence[str]) -> None:
        """Subscribe, then see what is there: nothing falls between the two.

        One round trip when nothing is there, which is so for a task that was just sent. That a
        watch of the same key sees a record twice is harmless.
        """
        packed = pack("SUBSCRIBE", *keys) + pack("EXISTS", *keys)
        (present,) = await self._client.send(packed, 1, again=True)
        if isinstance(present, hiredis.ReplyError):
            raise self._client.failure(present, doing="watch")
        if not present:
            return
        for key, record in (await self._find(keys)).items():
            for watch in self._watches_by_key.get(key, ()):
                watch.add(record)

    def _leave(self, watch: _Watch) -> None:
        """Unsubscribe from what nobody else watches, without waiting for it."""
        deserted: list[str] = []
        for key in watch.keys:
            watches = self._watches_by_key[key]
            watches.remove(watch)
            if not watches:
                del self._watches_by_key[key]
                deserted.append(key)
        if deserted:
            self._client.mention(pack("UNSUBSCRIBE", *deserted), 0)

    async def _keep(self) -> None:
        """Notice a connection that died silently; renew the subscriptions after a loss."""
        while True:
            try:
                async with asyncio.timeout(self._health_interval):
                    await self._disturbed.wait()
            except TimeoutError:
                pass
            try:
                if self._disturbed.is_set():
                    # Cleared first: a loss while we renew sets it again.
                    self._disturbed.clear()
                    if self._watches_by_key:
                        await self._look(list(self._watches_by_key))
                elif self._watches_by_key:
                    await self._client.send(pack("PING"), 1)
            except BackendUnavailable as exc:
                # Lost once more (then we are here again at once), or the driver gave up.
                if not self._disturbed.is_set():
                    self._fail_all(exc)

    def _fail_all(self, exc: Exception) -> None:
        for watches in self._watches_by_key.values():
            for watch in watches:
                watch.fail(exc)
