"""Waiting for results: one connection that listens for everybody."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.link import Push, pack
from umbel.drivers.redis.subscriptions import Inbox, Subscriptions, subscribe
from umbel.exceptions import BackendClosed
from umbel.model import ResultRecord

__all__ = ["Watches"]


class Watches:
    """The records of tasks as they change.

    Args:
        client: Only listens.
        find: Loads what there is of keys, over another connection.
        read: The record of a key and its document.
    """

    def __init__(
        self,
        client: Client,
        *,
        find: Callable[[Sequence[str]], Awaitable[Mapping[str, ResultRecord]]],
        read: Callable[[str, bytes], ResultRecord],
    ) -> None:
        self._client = client
        self._find = find
        self._read = read
        self._subscriptions = Subscriptions[ResultRecord](
            client, begin=self._look, end="UNSUBSCRIBE"
        )

    @asynccontextmanager
    async def watch(self, keys: Sequence[str]) -> AsyncGenerator[AsyncIterator[list[ResultRecord]]]:
        """The records of ``keys``: those there already, then each change."""
        names = list(dict.fromkeys(keys))
        inbox = Inbox[ResultRecord]()
        try:
            await self._subscriptions.enter(names, inbox)
            yield inbox
        finally:
            self._subscriptions.leave(names, inbox)

    async def close(self) -> None:
        """Stop listening; whoever still waits is told."""
        await self._subscriptions.close(
            BackendClosed("the result backend was closed while it was watched")
        )
        await self._client.close()

    def heard(self, push: Push) -> None:
        """Take in a message that Redis sent."""
        if push[0] == b"message":
            key = push[1].decode()
            listeners = self._subscriptions.listeners(key)
            if listeners:
                record = self._read(key, push[2])
                for inbox in listeners:
                    inbox.add(record)

    def disturb(self) -> None:
        """The connection is lost, and with it all subscriptions."""
        self._subscriptions.disturb()

    async def _look(self, keys: Sequence[str]) -> None:
        """Subscribe, then see what is there: nothing falls between the two.

        One round trip when nothing is there, which is so for a task that was just sent. That a
        watch of the same key sees a record twice is harmless.
        """
        if await subscribe(self._client, "SUBSCRIBE", keys, pack("EXISTS", *keys)):
            for key, record in (await self._find(keys)).items():
                for inbox in self._subscriptions.listeners(key):
                    inbox.add(record)
