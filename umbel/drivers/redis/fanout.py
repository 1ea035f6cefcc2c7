"""Traffic beside the tasks over Redis, as kombu's.

Fanout and topic exchanges are channels of publish and subscribe, direct ones lead into lists.

Source:
    Lists as observed with kombu 5.7: ``_kombu.binding.<exchange>``; transport options
    ``global_keyprefix``, ``sep``. Channels: :mod:`umbel.drivers.redis.channels`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from umbel.drivers.redis import address
from umbel.drivers.redis.bindings import Bindings
from umbel.drivers.redis.channels import Channels, escaped
from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.keys import Keys
from umbel.drivers.redis.link import Push, pack
from umbel.drivers.redis.options import client_options
from umbel.drivers.redis.subscriptions import Inbox, Subscriptions, subscribe
from umbel.exceptions import BrokerUnavailable, DecodeError
from umbel.model import Exchange, Message, Queue
from umbel.protocols import Clock
from umbel.routing.bindings import Bindings as Ways
from umbel.routing.bindings import ways_into
from umbel.wire import envelope

__all__ = ["RedisFanout"]

logger = logging.getLogger(__name__)

_CHANNELS = {"fanout", "topic"}
"""Exchanges that are channels; the others lead into lists."""

_MOST_KEPT = 20_000
"""Messages kept for a listener that does not fetch them; then the older half is dropped."""
_ANSWERS_LIVE = 60_000
"""Milliseconds after which answers that nobody fetches go."""
_POP_WAIT = 5.0
"""Seconds one look for answers waits."""


class RedisFanout:
    """Implements ``umbel.protocols.Fanout``."""

    encloses = True

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        transport_options: Mapping[str, object] | None = None,
        connect_timeout: float = 4.0,
        max_retries: int | None = 3,
    ) -> None:
        self._where = address.parse(url, transport_options)
        options = self._where.options
        self._clock = clock
        self._channels = Channels(options, self._where.db)
        self._keys = Keys(options)
        self._patience = client_options(
            options,
            name=str(options.get("client_name") or "umbel-fanout"),
            connect_timeout=connect_timeout,
            max_retries=max_retries,
        )
        self._speaker = self._client()
        self._listener = self._client(on_push=self._heard, on_lost=self._disturbed)
        self._bindings = Bindings(self._speaker, self._keys, clock)
        # Every channel is listened to as a pattern: Redis delivers once per subscription, so one
        # heard by name and by pattern would arrive twice.
        self._subscriptions = Subscriptions[bytes](
            self._listener,
            begin=self._begin,
            end="PUNSUBSCRIBE",
        )

    def _client(self, **callbacks: Any) -> Client:
        return Client(
            self._where,
            clock=self._clock,
            options=self._patience,
            error=BrokerUnavailable,
            **callbacks,
        )

    async def open(self) -> None:
        """Connect. Idempotent. Listening begins with the first listener."""
        self._listener.permit()
        await self._speaker.open()

    async def close(self) -> None:
        """Disconnect; whoever still listens is told. Idempotent."""
        await self._subscriptions.close(BrokerUnavailable("the fan-out was closed"))
        await self._listener.close()
        await self._speaker.close()

    async def broadcast(self, exchange: Exchange, messages: Sequence[Message]) -> int | None:
        """Say something to whoever listens now; nothing is kept but answers, for a minute."""
        if not messages:
            return None
        if exchange.type not in _CHANNELS:
            return await self._answer(exchange, messages)
        replies = await self._speaker.stream(
            pack("PUBLISH", self._channel(exchange, message.routing_key), _packed(message))
            for message in messages
        )
        return int(replies[-1])

    async def _answer(self, exchange: Exchange, messages: Sequence[Message]) -> int | None:
        commands: list[tuple[str | bytes | int, ...]] = []
        count = 0
        for message in messages:
            data = _packed(message)
            queues = await self._bindings.queues(exchange.name, message.routing_key)
            count = len(queues)
            for queue in queues:
                name = self._keys.list_name(queue, None)
                commands.append(("LPUSH", name, data))
                commands.append(("PEXPIRE", name, _ANSWERS_LIVE))
        if commands:
            await self._speaker.call(*commands)
        return count

    @asynccontextmanager
    async def listen(self, queues: Sequence[Queue]) -> AsyncGenerator[AsyncIterator[list[Message]]]:
        """Everything sent from the moment the context is entered, in batches."""
        inbox = Inbox[bytes](_MOST_KEPT)
        heard = _Heard(inbox, Ways(way for queue in queues for way in ways_into(queue)))
        globs = _disjoint([self._glob(queue) for queue in queues if _is_channel(queue)])
        lists = [queue for queue in queues if not _is_channel(queue)]
        async with AsyncExitStack() as stack:
            # Before it is entered, because entering may fail half way.
            stack.callback(self._subscriptions.leave, globs, inbox)
            await self._subscriptions.enter(globs, inbox)
            if lists:
                await stack.enter_async_context(self._answers(lists, inbox))
            yield heard

    @asynccontextmanager
    async def _answers(self, queues: Sequence[Queue], inbox: Inbox[bytes]) -> AsyncGenerator[None]:
        """Fetch what comes into lists, over a connection that may block."""
        await self._bindings.declare(queues)
        client = self._client()
        # A task group would raise in the one who listens what is told to it anyway.
        popping = asyncio.get_running_loop().create_task(self._pop(client, queues, inbox))
        try:
            yield
        finally:
            popping.cancel()
            await asyncio.wait([popping])
            await client.close()
            self._speaker.mention(*self._forgetting(queues))

    async def _pop(self, client: Client, queues: Sequence[Queue], inbox: Inbox[bytes]) -> None:
        names = [self._keys.list_name(queue.name, None) for queue in queues]
        try:
            while True:
                (found,) = await client.call(("BRPOP", *names, _POP_WAIT), again=True)
                if found is not None:
                    inbox.add(found[1])
        except BrokerUnavailable as error:
            inbox.fail(error)

    def _forgetting(self, queues: Sequence[Queue]) -> tuple[bytes, int]:
        """The commands after which nothing of the queues is left."""
        commands: list[bytes] = []
        for queue in queues:
            commands.append(pack("DEL", self._keys.list_name(queue.name, None)))
            row = self._keys.separator.join((queue.key, "", queue.name))
            exchange = queue.exchange.name if queue.exchange is not None else ""
            commands.append(pack("SREM", self._keys.binding(exchange), row))
            commands.append(pack("SREM", self._keys.permanent_binding(exchange), row))
        return b"".join(commands), len(commands)

    def _channel(self, exchange: Exchange, key: str) -> str:
        return self._channels.name(exchange.name, key if exchange.type == "topic" else "")

    def _glob(self, queue: Queue) -> str:
        exchange = queue.exchange
        assert exchange is not None, "it is a channel"
        channel = self._channels.glob(exchange.name)
        if exchange.type == "topic" and self._channels.has_patterns:
            return f"{channel}/{_glob(queue.key)}"
        return channel

    async def _begin(self, globs: Sequence[str]) -> None:
        await subscribe(self._listener, "PSUBSCRIBE", globs, pack("PING"))

    def _heard(self, push: Push) -> None:
        if push[0] != b"pmessage":
            return
        for inbox in self._subscriptions.listeners(push[1].decode()):
            inbox.add(push[3])

    def _disturbed(self) -> None:
        self._subscriptions.disturb()


class _Heard(AsyncIterator[list[Message]]):
    """What one listener hears, read when it is fetched; what is no message is left out."""

    def __init__(self, inbox: Inbox[bytes], ways: Ways) -> None:
        self._inbox = inbox
        self._ways = ways

    async def __anext__(self) -> list[Message]:
        while True:
            messages: list[Message] = []
            for raw in await anext(self._inbox):
                try:
                    message = envelope.decode(raw)
                except DecodeError as error:
                    logger.warning("Ignored what is no message on a control channel: %s", error)
                    continue
                if self._ways.queues(message.exchange, message.routing_key):
                    messages.append(message)
            if messages:
                return messages


def _packed(message: Message) -> bytes:
    return envelope.encode(message, delivery_tag=str(uuid.uuid4()))


def _is_channel(queue: Queue) -> bool:
    return queue.exchange is not None and queue.exchange.type in _CHANNELS


def _disjoint(globs: Sequence[str]) -> list[str]:
    """Globs of which no two match the same channel: Redis sends a message once for each.

    Those made by :func:`_glob` are a beginning and perhaps a star, so one either contains the
    other or has nothing in common with it.

    >>> _disjoint(["a*", "abc", "b", "ab*"])
    ['a*', 'b']
    """
    wide = [glob[:-1] for glob in globs if glob.endswith("*")]

    def is_covered(glob: str) -> bool:
        beginning = glob.removesuffix("*")
        return any(
            beginning.startswith(start) and (start != beginning or not glob.endswith("*"))
            for start in wide
        )

    return [glob for glob in dict.fromkeys(globs) if not is_covered(glob)]


def _glob(topic: str) -> str:
    """The narrowest beginning that Redis can match a topic by.

    >>> _glob("task.sent"), _glob("task.*"), _glob("task.#")
    ('task.sent', 'task.*', 'task*')
    """
    found = re.search("[*#]", topic)
    if found is None:
        return escaped(topic)
    head = topic[: found.start()]
    if found[0] == "#":
        # "task.#" is "task" too.
        head = head.removesuffix(".")
    return escaped(head) + "*"
