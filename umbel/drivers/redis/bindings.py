"""kombu's binding tables: which queues an exchange reaches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.keys import Keys
from umbel.model import Exchange, Queue
from umbel.protocols import Clock

__all__ = ["Bindings"]

_REMEMBERED = 5.0
"""Seconds for which a table is believed; a queue bound meanwhile is found at once if nothing
else matches, else within this time."""

_Row = tuple[str, str, str]


class Bindings:
    """Writes and reads ``_kombu.binding.<exchange>``, as kombu's producers and consumers do."""

    def __init__(self, client: Client, keys: Keys, clock: Clock) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock
        self._declared_by_name: dict[str, Queue] = {}
        self._rows_by_exchange: dict[str, tuple[float, list[_Row]]] = {}

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Bind the queues to their exchanges, where Celery finds it."""
        commands: list[tuple[str, str, str]] = []
        for queue in queues:
            self._declared_by_name[queue.name] = queue
            for table, permanent, row in self._rows(queue):
                commands.append(("SADD", table, row))
                if queue.expires is None:
                    commands.append(("SADD", permanent, row))
        if commands:
            await self._client.call(*commands, again=True)

    async def renew(self) -> None:
        """Bind everything anew that was bound here."""
        await self.declare(list(self._declared_by_name.values()))

    async def forget(self, queues: Sequence[Queue]) -> None:
        """Delete queues that nobody will consume any more, and what leads into them."""
        commands: list[tuple[str, ...]] = []
        for queue in queues:
            self._declared_by_name.pop(queue.name, None)
            for table, permanent, row in self._rows(queue):
                commands += [("SREM", table, row), ("SREM", permanent, row)]
            commands.append(("UNLINK", *(name for name, _ in self._keys.lists([queue.name]))))
        if commands:
            await self._client.call(*commands, again=True)

    def _rows(self, queue: Queue) -> list[tuple[str, str, str]]:
        """What stands for a queue, with the two tables that it stands in."""
        ways = [(binding.exchange, binding.routing_key) for binding in queue.bindings]
        if queue.exchange is not None:
            ways.append((queue.exchange, queue.key))
        rows: list[tuple[str, str, str]] = []
        for exchange, routing_key in ways:
            if exchange.name:
                self._rows_by_exchange.pop(exchange.name, None)
                row = (routing_key, _pattern(exchange, routing_key), queue.name)
                table = self._keys.binding(exchange.name)
                permanent = self._keys.permanent_binding(exchange.name)
                rows.append((table, permanent, self._keys.separator.join(row)))
        return rows

    async def queues(self, exchange: str, routing_key: str) -> list[str]:
        """The queues a message reaches; none when nothing is bound."""
        now = self._clock.monotonic()
        known = self._rows_by_exchange.get(exchange)
        if known is not None and known[0] > now:
            found = _matching(known[1], routing_key)
            if found:
                return found
        (members,) = await self._client.call(("SMEMBERS", self._keys.binding(exchange)), again=True)
        rows: list[_Row] = []
        for member in members:
            parts = member.decode("utf-8", "replace").split(self._keys.separator)
            if len(parts) == 3:
                rows.append((parts[0], parts[1], parts[2]))
        self._rows_by_exchange[exchange] = (now + _REMEMBERED, rows)
        return _matching(rows, routing_key)


def _matching(rows: Sequence[_Row], routing_key: str) -> list[str]:
    found = {
        queue
        for key, pattern, queue in rows
        if (_matches(pattern, routing_key) if pattern else key == routing_key)
    }
    return sorted(found)


def _pattern(exchange: Exchange, routing_key: str) -> str:
    """The regular expression kombu keeps for a topic binding; nothing for other types."""
    if exchange.type != "topic":
        return ""
    words = {"*": r"[^\.]+", "#": ".*?"}
    return "^" + r"\.".join(words.get(word, word) for word in routing_key.split(".")) + "$"


@lru_cache(maxsize=1024)
def _matches(pattern: str, routing_key: str) -> bool:
    try:
        return re.match(pattern, routing_key) is not None
    except re.error:
        # Somebody's broken pattern concerns somebody's queue only.
        return False
