"""Dead letters in Redis: a hash of what they say, a sorted set of when they came."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.keys import Keys
from umbel.drivers.redis.link import Reply
from umbel.drivers.redis.marks import MARK, unmarked
from umbel.exceptions import DecodeError
from umbel.model import DeadLetter, Message
from umbel.wire import envelope

__all__ = ["About", "RedisDeadLetters"]


class About(msgspec.Struct, frozen=True, array_like=True):
    """What is kept before the envelope, as a line of JSON."""

    queue: str
    attempt: int
    reason: str
    dropped_at: float


_decode = msgspec.json.Decoder(About).decode


class RedisDeadLetters:
    """Implements ``umbel.protocols.DeadLetterStore``."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._letters, self._index = keys.dead_letters, keys.dead_index

    async def count(self) -> int:
        """How many there are."""
        [count] = await self._client.call(["ZCARD", self._index], again=True)
        return int(count)

    async def latest(self, *, limit: int, skip: int = 0) -> list[DeadLetter]:
        """Up to ``limit`` of them, the latest first."""
        if limit <= 0:
            return []
        last = skip + limit - 1
        [ids] = await self._client.call(["ZREVRANGE", self._index, skip, last], again=True)
        return await self.load([id.decode() for id in ids])

    async def load(self, ids: Sequence[str]) -> list[DeadLetter]:
        """Those of these that exist."""
        if not ids:
            return []
        [found] = await self._client.call(["HMGET", self._letters, *ids], again=True)
        return [_letter(id, kept) for id, kept in zip(ids, found, strict=True) if kept is not None]

    async def drop(self, ids: Sequence[str]) -> int:
        """Forget these for good; returns how many there were."""
        if not ids:
            return 0
        replies: list[Reply] = await self._client.call(
            ["HDEL", self._letters, *ids], ["ZREM", self._index, *ids]
        )
        return int(replies[0])


def _letter(id: str, kept: bytes) -> DeadLetter:
    head, _, raw = kept.partition(b"\n")
    about = _decode(head)
    try:
        message = envelope.decode(unmarked(raw) if raw.startswith(MARK) else raw)
    except DecodeError:
        message = Message(id="", body=raw)
    return DeadLetter(
        id=id,
        queue=about.queue,
        message=message,
        attempt=about.attempt,
        reason=about.reason,
        dropped_at=about.dropped_at,
    )
