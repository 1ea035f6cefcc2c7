"""Revocations in Redis: a sorted set, the latest last."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.keys import Keys
from umbel.drivers.redis.scripts import script
from umbel.model import Revocation

__all__ = ["RedisRevocations"]

_REVOKE = script("revoke")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Revocation).decode


class RedisRevocations:
    """Implements ``umbel.protocols.RevocationStore``."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._key = keys.revoked

    async def add(self, revocations: Sequence[Revocation], *, keep: int) -> None:
        """Keep these too, ``keep`` in all."""
        if revocations:
            members = [_encode(revocation) for revocation in revocations]
            await self._client.run(_REVOKE, (self._key,), (keep, *members), again=True)

    async def since(self, mark: int) -> tuple[list[Revocation], int]:
        """What was added after a mark, the oldest first, and the next mark."""
        command = ("ZRANGEBYSCORE", self._key, f"({mark}", "+inf", "WITHSCORES")
        [found] = await self._client.call(command, again=True)
        revocations: list[Revocation] = []
        for member, score in found:
            mark = int(score)
            try:
                revocations.append(_decode(member))
            except msgspec.MsgspecError:
                # Not ours: a key of this name is nobody's promise.
                continue
        return revocations, mark
