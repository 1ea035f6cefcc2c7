"""From messages to lists: one write for a batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import hiredis

from umbel.drivers.redis.bindings import Bindings
from umbel.drivers.redis.channels import Channels
from umbel.drivers.redis.connection import TRANSIENT, Client, explain
from umbel.drivers.redis.keys import Keys
from umbel.drivers.redis.link import Reply, pack
from umbel.drivers.redis.marks import MARK, has, marked, unmarked
from umbel.drivers.redis.scripts import script
from umbel.exceptions import (
    BatchError,
    BrokerUnavailable,
    DecodeError,
    EncodeError,
    OperationalError,
)
from umbel.model import Message
from umbel.protocols import Clock
from umbel.wire import envelope

__all__ = ["Publisher"]

_ENQUEUE = script("enqueue")
_LARGEST = 512 * 1024 * 1024 - 4096
"""Redis closes the connection on anything larger than 512 MB."""


class _Sorted:
    """Messages by what has to be done with them, with their places in the batch."""

    __slots__ = (
        *("said", "said_places", "raws_by_list", "places_by_list", "later", "later_places"),
    )

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.said_places: list[int] = []
        self.raws_by_list: dict[str, list[bytes]] = {}
        self.places_by_list: dict[str, list[int]] = {}
        self.later: list[str | bytes | int | float] = []
        self.later_places: list[int] = []

    def places(self) -> list[Sequence[int]]:
        """Whose replies come back, in order."""
        return [
            *([place] for place in self.said_places),
            *self.places_by_list.values(),
            *([place] for place in self.later_places),
        ]


class Publisher:
    """Writes messages where kombu's producers write them."""

    def __init__(
        self,
        client: Client,
        keys: Keys,
        bindings: Bindings,
        clock: Clock,
        *,
        name: str,
        channels: Channels,
        exchange_type: Callable[[str], str | None],
    ) -> None:
        self._client = client
        self._keys = keys
        self._bindings = bindings
        self._clock = clock
        self._name = name
        self._channels = channels
        self._exchange_type = exchange_type
        self._enqueue_keys = keys.unacked, keys.unacked_index, keys.delayed, keys.wake
        self._numbers = itertools.count(1)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Write the messages, in order for each list.

        Raises:
            BatchError: Some were refused, or reach no queue. Those whose error is
                ``BrokerUnavailable`` may be sent again.
            BrokerUnavailable: No connection, or Redis refused all of them.
        """
        if len(messages) == 1 and not messages[0].exchange and messages[0].not_before is None:
            await self._publish_one(messages[0])
            return
        errors: dict[int, Exception] = {}
        sorted_ = await self._sort(messages, errors)
        packed = sorted_.said
        packed += [pack("LPUSH", name, *raws) for name, raws in sorted_.raws_by_list.items()]
        later = sorted_.later
        if later:
            packed.append(self._client.packed(_ENQUEUE, self._enqueue_keys, later))
        if packed:
            replies = await self._client.send(b"".join(packed), len(packed))
            for place, listeners in zip(sorted_.said_places, replies, strict=False):
                # In a cluster it counts those of one node, and all nodes pass it on.
                if listeners == 0 and not self._client.is_cluster:
                    errors[place] = _unheard(messages[place])
            if later:
                answers = await self._client.settled(
                    replies.pop(), _ENQUEUE, self._enqueue_keys, later
                )
                replies += [
                    hiredis.ReplyError(answer.decode()) if answer else 0 for answer in answers
                ]
            if hiredis.ReplyError in map(type, replies):
                self._collect(replies, sorted_.places(), errors)
        if errors:
            self._raise(errors, len(messages))

    async def _publish_one(self, message: Message) -> None:
        """Write one message for one list, now: what most calls come to."""
        errors: dict[int, Exception] = {}
        try:
            packed = pack(
                "LPUSH",
                self._keys.list_name(message.routing_key, message.priority),
                self._encode(message),
            )
        except (EncodeError, DecodeError) as exc:
            errors[0] = exc
        else:
            replies = await self._client.send(packed, 1)
            if type(replies[0]) is hiredis.ReplyError:
                self._collect(replies, [[0]], errors)
        if errors:
            self._raise(errors, 1)

    async def placed(self, message: Message) -> list[tuple[str, bytes]] | None:
        """The lists that a message goes to, and what is pushed to each; None when it goes
        anywhere else, or later.

        Raises:
            OperationalError, EncodeError: It reaches no queue, or cannot be written.
        """
        due = message.not_before
        if due is not None and due > self._clock.time():
            return None
        queues = await self._queues(message) if message.exchange else (message.routing_key,)
        if queues is None:
            return None
        raw = self._encode(message)
        return [(self._keys.list_name(queue, message.priority), raw) for queue in queues]

    async def _sort(self, messages: Sequence[Message], errors: dict[int, Exception]) -> _Sorted:
        into = _Sorted()
        raws_by_list, places_by_list = into.raws_by_list, into.places_by_list
        now = self._clock.time()
        for place, message in enumerate(messages):
            try:
                queues = await self._queues(message) if message.exchange else (message.routing_key,)
                raw = self._encode(message)
            except (EncodeError, DecodeError, OperationalError) as exc:
                if isinstance(exc, BrokerUnavailable):
                    raise
                errors[place] = exc
                continue
            if queues is None:
                channel = self._channels.name(message.exchange, message.routing_key)
                plain = unmarked(raw) if raw.startswith(MARK) else raw
                into.said.append(pack("PUBLISH", channel, plain))
                into.said_places.append(place)
                continue
            due = message.not_before
            for queue in queues:
                name = self._keys.list_name(queue, message.priority)
                if due is not None and due > now:
                    into.later += self._enqueued(message, queue, name, raw, due)
                    into.later_places.append(place)
                elif name in raws_by_list:
                    raws_by_list[name].append(raw)
                    places_by_list[name].append(place)
                else:
                    raws_by_list[name] = [raw]
                    places_by_list[name] = [place]
        return into

    async def _queues(self, message: Message) -> Sequence[str] | None:
        """The queues that a message for an exchange goes to; None: it is said to who listens."""
        if self._exchange_type(message.exchange) == "fanout":
            return None
        queues = await self._bindings.queues(message.exchange, message.routing_key)
        if not queues:
            raise _unheard(message)
        return queues

    def _encode(self, message: Message) -> bytes:
        raw = envelope.encode(message, delivery_tag=f"{self._name}-{next(self._numbers):x}")
        if message.not_before is not None or message.expires_at is not None:
            raw = marked(raw, message)
        if len(raw) > _LARGEST:
            raise EncodeError(
                f"message {message.id!r} is {len(raw):,} bytes long as an envelope, Redis accepts"
                f" {_LARGEST:,}; keep the payload elsewhere and send a reference to it"
            )
        return raw

    def _enqueued(
        self, message: Message, queue: str, name: str, raw: bytes, due: float
    ) -> tuple[str | bytes | int | float, ...]:
        keys = self._keys
        unique = f"{self._name}.p{next(self._numbers):x}"
        ours = 0 if has(message.headers, b"eta") else 1
        return unique, due, ours, keys.consumers(queue), name, raw, keys.suffix(queue)

    def _collect(
        self,
        replies: Sequence[Reply],
        places: Sequence[Sequence[int]],
        errors: dict[int, Exception],
    ) -> None:
        for reply, refused in zip(replies, places, strict=True):
            if isinstance(reply, hiredis.ReplyError):
                self._client.heed(reply)
                again = str(reply).startswith(TRANSIENT)
                kind = BrokerUnavailable if again else _RefusedByRedis
                for place in refused:
                    errors[place] = kind(explain(reply))

    def _raise(self, errors: dict[int, Exception], total: int) -> None:
        first = next(iter(errors.values()))
        if len(errors) == total and all(
            isinstance(exc, (BrokerUnavailable, _RefusedByRedis)) for exc in errors.values()
        ):
            raise self._client.failure(first, doing="publish") from first
        raise BatchError(
            f"{len(errors)} of {total} messages were refused; the first: {first}", errors
        )


def _unheard(message: Message) -> OperationalError:
    return OperationalError(
        f"exchange {message.exchange!r} has no queue bound for routing key"
        f" {message.routing_key!r}; declare the queue, or publish to it by name"
    )


class _RefusedByRedis(OperationalError):
    """Redis answered with an error instead of taking the message."""
