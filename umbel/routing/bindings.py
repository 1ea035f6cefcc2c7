"""Exchange and routing key → queues, for brokers that have no exchanges of their own.

Pure: a broker keeps the bindings wherever it keeps its queues, and asks here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec

from umbel.model import Queue

__all__ = ["Bindings", "Way", "conflict", "matches", "ways_into"]


class Way(msgspec.Struct, frozen=True, array_like=True):
    """One way into a queue: from an exchange, by a key."""

    exchange: str
    type: str
    routing_key: str
    queue: str
    arguments: Mapping[str, object] = {}
    """For ``headers`` exchanges: what the message's headers must say."""


def ways_into(queue: Queue) -> list[Way]:
    """Every way into a queue but its own name, through which it can always be reached."""
    ways: list[Way] = []
    if queue.exchange is not None and queue.exchange.name:
        exchange = queue.exchange
        ways.append(
            Way(exchange.name, exchange.type, queue.key, queue.name, queue.binding_arguments)
        )
    for binding in queue.bindings:
        exchange = binding.exchange
        if exchange.name:
            ways.append(
                Way(
                    exchange.name, exchange.type, binding.routing_key, queue.name, binding.arguments
                )
            )
    return ways


class Bindings:
    """The ways that are known, by exchange."""

    def __init__(self, ways: Iterable[Way] = ()) -> None:
        self._ways_by_exchange: dict[str, list[Way]] = {}
        for way in ways:
            self.add(way)

    def add(self, way: Way) -> bool:
        """Know one more way; False when it is known already."""
        ways = self._ways_by_exchange.setdefault(way.exchange, [])
        if way in ways:
            return False
        ways.append(way)
        return True

    def queues(self, exchange: str, routing_key: str, headers: bytes = b"{}") -> Sequence[str]:
        """The queues that a message reaches, each once; none when nothing is bound.

        Args:
            headers: The message's, as JSON; read for ``headers`` exchanges only.

        >>> bindings = Bindings([Way("logs", "topic", "*.error", "alarms")])
        >>> bindings.queues("logs", "web.error"), bindings.queues("logs", "web.info")
        (['alarms'], [])
        """
        found = {
            way.queue: None
            for way in self._ways_by_exchange.get(exchange, ())
            if _leads(way, routing_key, headers)
        }
        return list(found)


def _leads(way: Way, routing_key: str, headers: bytes) -> bool:
    match way.type:
        case "fanout":
            return True
        case "topic":
            return matches(way.routing_key, routing_key)
        case "headers":
            return _headers_match(way.arguments, headers)
        case _:
            return way.routing_key == routing_key


def _headers_match(arguments: Mapping[str, object], headers: bytes) -> bool:
    try:
        present = msgspec.json.decode(headers, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    wanted = {name: value for name, value in arguments.items() if not name.startswith("x-")}
    hits = (present.get(name) == value for name, value in wanted.items())
    return any(hits) if str(arguments.get("x-match", "all")).startswith("any") else all(hits)


@lru_cache(maxsize=4096)
def matches(pattern: str, key: str) -> bool:
    """Whether a key fits a pattern of words: ``*`` is one word, ``#`` any number, also none.

    Source:
        AMQP 0-9-1, section 3.1.3.3, "The Topic Exchange Type".

    >>> matches("image.#", "image"), matches("image.*", "image")
    (True, False)
    """
    words, parts = key.split("."), pattern.split(".")
    at_word = at_part = 0
    # Where the last # stands, and the first word that it has not swallowed yet.
    last_hash, unswallowed = -1, 0
    while at_word < len(words):
        part = parts[at_part] if at_part < len(parts) else None
        if part == "#":
            last_hash, unswallowed = at_part, at_word
            at_part += 1
        elif part is not None and part in {"*", words[at_word]}:
            at_word += 1
            at_part += 1
        elif last_hash >= 0:
            unswallowed += 1
            at_word, at_part = unswallowed, last_hash + 1
        else:
            return False
    return all(part == "#" for part in parts[at_part:])


_FIXED = (
    "durable",
    "exclusive",
    "auto_delete",
    "expires",
    "message_ttl",
    "max_length",
    "max_length_bytes",
    "max_priority",
    "queue_arguments",
)


def conflict(existing: Queue, asked: Queue) -> str | None:
    """Why a queue cannot be declared as asked, as a sentence; None when it can. Bindings never
    conflict: they add up.

    >>> print(conflict(Queue("mail"), Queue("mail", max_priority=10)))
    queue 'mail' exists with max_priority=None, asked for max_priority=10. Delete it, or drop \
max_priority from task_queues['mail'].
    """
    for name in _FIXED:
        there, wanted = getattr(existing, name), getattr(asked, name)
        if there != wanted:
            return (
                f"queue {asked.name!r} exists with {name}={there!r}, asked for {name}={wanted!r}. "
                f"Delete it, or drop {name} from task_queues[{asked.name!r}]."
            )
    return None
