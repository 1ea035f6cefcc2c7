"""What a consumer does every few seconds: say that it is there, return what others left."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from umbel.drivers.redis.bindings import Bindings
from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.keys import Keys
from umbel.drivers.redis.link import pack
from umbel.drivers.redis.marks import counted
from umbel.drivers.redis.scripts import Script, script
from umbel.exceptions import DecodeError
from umbel.protocols import Clock
from umbel.serialization import json

__all__ = ["Upkeep"]

logger = logging.getLogger(__name__)

_RECLAIM = script("reclaim")
_LAPSED = script("lapsed")
_ABANDONED = script("abandoned")
_RESTORE = script("restore")
_ANNOUNCE = script("announce")

_TIME = pack("TIME")
_AGREES = 1.0
"""Seconds that two clocks may differ; nobody's time is better known."""
_STEADY = 1.0
"""Seconds that an answer may take, and a clock leap; or a quarter of a lease, if that is more."""
_LONGEST_PAUSE = 5.0
_PRESENT_FOR = 20.0
"""Seconds for which an announcement holds; a worker that is silent for longer counts as gone."""
_ENTRIES_PER_ROUND = 500
_FULL_ROUND_EVERY = 60.0
"""Seconds between two looks at everything, however old: the server's clock may have gone back."""


class Upkeep:
    """Runs as part of ``receive``, so that a client that only publishes does none of it."""

    def __init__(
        self,
        client: Client,
        keys: Keys,
        bindings: Bindings,
        clock: Clock,
        *,
        name: str,
        lease: float,
        visibility_timeout: float,
    ) -> None:
        self._client = client
        self._keys = keys
        self._bindings = bindings
        self._clock = clock
        self._name = name
        self._lease = lease
        self._visibility_timeout = visibility_timeout
        self._pause = min(_LONGEST_PAUSE, lease / 4)
        self._next_round = -1.0
        self._next_full_round = -1.0
        self._from: dict[str, bytes | str] = {}
        self._announced: set[str] = set()
        self._announced_at: dict[str, float] = {}
        # What the server's clock said last, and our own before it was asked.
        self._told: tuple[float, float] | None = None
        self._troubled = False
        self._calm_at = 0.0
        self.skew = 0.0
        """Seconds by which the server's clock is ahead of ours; 0.0: too little to be known."""

    def due_in(self, now: float) -> float:
        """Seconds until the next round."""
        return self._next_round - now

    async def run(self, queues: Sequence[str], beginning: str, limit: int) -> list[bytes]:
        """One round for a consumer of ``queues``.

        Args:
            beginning: Of the tags of new leases.
            limit: How many there may be.

        Returns:
            Tag and envelope of what dead workers had begun; leased to us now.
        """
        now = self._clock.monotonic()
        # Before the first await: receives that overlap do not all do it.
        self._next_round = now + self._pause
        if now >= self._next_full_round:
            self._next_full_round = now + _FULL_ROUND_EVERY
            self._from.clear()
        self._announced.update(queues)
        lapsed = await self._round(queues, (limit, self._lease, beginning))
        if lapsed:
            # There may be more.
            self._next_round = now
        return lapsed

    async def _round(self, queues: Sequence[str], new: Sequence[str | float]) -> list[bytes]:
        """Everything in one round trip, once it is known what time it is."""
        keys = self._keys
        leases = (keys.unacked, keys.unacked_index)
        quarantine = (keys.quarantine, keys.quarantine_index)
        consumers = [keys.consumers(queue) for queue in queues]
        calls: list[tuple[Script, Sequence[str], Sequence[str | bytes | float]]] = [
            (_ANNOUNCE, consumers, (self._name, _PRESENT_FOR)),
            (_ABANDONED, leases, (self._visibility_timeout, _ENTRIES_PER_ROUND)),
        ]
        if await self._is_calm():
            for pair in (leases, quarantine):
                start = self._from.get(pair[1], "-inf")
                calls.append((_RECLAIM, (*pair, keys.delayed), (start, _ENTRIES_PER_ROUND)))
            begun = [keys.begun(queue) for queue in queues]
            calls.append((_LAPSED, (keys.unacked, *begun), new))
        client = self._client
        packed = b"".join([client.packed(*call) for call in calls])
        replies = await client.send(packed, len(calls), again=True)
        added, abandoned, *ended = [
            await client.settled(reply, *call) for reply, call in zip(replies, calls, strict=True)
        ]
        leased = quarantined = None
        found: list[bytes] = []
        if ended:
            leased, quarantined, found = ended
        for index, reply in ((leases[1], leased), (quarantine[1], quarantined)):
            if reply is None:
                continue
            following, returned = reply
            self._from[index] = following
            if returned:
                logger.warning("Gave back %d messages whose lease had run out.", returned)
        await self._note(queues, added)
        await self._restore(abandoned)
        return found

    async def _is_calm(self) -> bool:
        """Whether leases that have run out are over: their holders could have extended them. They
        could not while the server was away, nor had they reason to before somebody set its clock
        forward. Both are seen by asking what time it is."""
        clock, most = self._clock, max(_STEADY, self._lease / 4)
        began, asked = clock.monotonic(), clock.time()
        reply: list[bytes] | Exception
        try:
            [reply] = await self._client.send(_TIME, 1, again=True)
        except Exception:
            self._troubled = True
            raise
        ended = clock.monotonic()
        troubled, self._troubled = self._troubled or ended - began > most, False
        if isinstance(reply, list):
            server = int(reply[0]) + int(reply[1]) / 1e6
            self._compare(server, asked, clock.time())
            if self._told is not None:
                leap = server - self._told[0] - (ended - self._told[1])
                if leap > most:
                    logger.warning(
                        "Redis' clock leapt forward by %.0f seconds: what others have on loan is "
                        "theirs for %.0f seconds more.",
                        *(leap, self._lease / 2),
                    )
                    troubled = True
            self._told = server, began
        # Otherwise it may not be asked (ACL): then nothing is known.
        if troubled:
            # Holders try three times per lease to extend it.
            self._calm_at = ended + self._lease / 2
        if ended >= self._calm_at:
            return True
        self._next_round = min(self._next_round, self._calm_at)
        return False

    def _compare(self, server: float, asked: float, answered: float) -> None:
        """The server read its clock between these two moments of ours."""
        before, self.skew = self.skew, 0.0
        if server < asked - _AGREES:
            self.skew = server - asked
        elif server > answered + _AGREES:
            self.skew = server - answered
        if abs(self.skew - before) > _AGREES and self.skew:
            logger.warning(
                "Redis' clock is %+.0f seconds ahead of this machine's: tasks are due, and expire, "
                "by Redis' clock. Is the time synchronized on both?",
                self.skew,
            )

    async def leave(self) -> None:
        """Say that this consumer is gone."""
        if self._announced:
            keys = [self._keys.consumers(queue) for queue in sorted(self._announced)]
            await self._client.run(_ANNOUNCE, keys, (self._name, 0), again=True)
            self._announced.clear()
            self._announced_at.clear()

    async def _note(self, queues: Sequence[str], added: int) -> None:
        """Notice that Redis has forgotten us, and with us everything else."""
        now = self._clock.monotonic()
        recent = [
            queue
            for queue in queues
            if now - self._announced_at.get(queue, -_PRESENT_FOR) < _PRESENT_FOR / 2
        ]
        self._announced_at.update(dict.fromkeys(queues, now))
        if added > len(queues) - len(recent):
            logger.warning(
                "Redis has lost its data (FLUSHALL, FLUSHDB, or a restart without persistence):"
                " messages that waited in %s are gone. The bindings are written anew; the worker"
                " goes on.",
                ", ".join(recent),
            )
            await self._bindings.renew()

    async def _restore(self, found: Sequence[bytes]) -> None:
        """Do for Celery's workers what they did for each other: a fleet that has moved away from
        Celery has nobody else to return what its last workers left."""
        keys = (self._keys.unacked, self._keys.unacked_index)
        for tag, record in zip(found[::2], found[1::2], strict=True):
            restored = await self._restored(record)
            if restored is None:
                logger.error("What %r keeps in unacked cannot be read, and stays there.", tag)
                continue
            raw, lists = restored
            await self._client.run(_RESTORE, keys, (tag, record, raw, *lists), again=True)

    async def _restored(self, record: bytes) -> tuple[bytes, list[str]] | None:
        """The envelope marked as redelivered, and the lists it goes to."""
        try:
            document: Any = json.loads(record)
            payload, exchange, routing_key = document
            payload["headers"]["redelivered"] = True
            mark = counted(payload.pop("umbel", None))
            properties = payload["properties"]
            properties["delivery_info"]["redelivered"] = True
            priority = properties.get("priority")
            if exchange:
                queues = await self._bindings.queues(str(exchange), str(routing_key))
            else:
                queues = [str(routing_key)]
            step = priority if isinstance(priority, int) else None
            raw = json.dumps({"umbel": mark, **payload})
            return raw, [self._keys.list_name(queue, step) for queue in queues]
        except (DecodeError, KeyError, TypeError, ValueError, AttributeError):
            return None
