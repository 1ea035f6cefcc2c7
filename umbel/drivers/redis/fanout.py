"""One-to-many traffic over Redis' publish and subscribe, on kombu's fanout channels.

Source:
    Channels as observed with kombu 5.7: ``/<db>.<exchange>`` and
    ``/<db>.<exchange>/<routing key>``; transport options ``fanout_prefix``, ``global_keyprefix``.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache

from umbel.drivers.redis import address
from umbel.drivers.redis.connection import Client, ClientOptions, option
from umbel.drivers.redis.link import Push, pack
from umbel.drivers.redis.subscriptions import Inbox, Subscriptions, subscribe
from umbel.exceptions import BrokerUnavailable
from umbel.protocols import Clock

__all__ = ["RedisFanout"]

_Payload = tuple[str, bytes]
_MOST_KEPT = 100_000
"""Payloads kept for a listener that does not fetch them; then the older half is dropped."""


class RedisFanout:
    """Implements ``umbel.protocols.Fanout``.

    A topic is what follows ``/<db>.`` in the channel: ``celery.pidbox``,
    ``celeryev/worker.online``.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        transport_options: Mapping[str, object] | None = None,
        connect_timeout: float = 4.0,
        max_retries: int = 3,
    ) -> None:
        options = transport_options or {}
        where = address.parse(url, options.get("ssl"))
        given = options.get("fanout_prefix", True)
        between = str(given).format(db=where.db) if isinstance(given, str) else f"/{where.db}."
        self._prefix = f"{options.get('global_keyprefix') or ''}{between if given else ''}"
        patience = ClientOptions(
            connect_timeout=option(options, "socket_connect_timeout", connect_timeout),
            reply_timeout=option(options, "socket_timeout", 20.0),
            max_retries=max_retries,
            name=str(options.get("client_name") or "umbel-fanout"),
        )
        self._speaker = Client(where, clock=clock, options=patience, error=BrokerUnavailable)
        self._listener = Client(
            where,
            clock=clock,
            options=patience,
            error=BrokerUnavailable,
            on_push=self._heard,
            on_lost=self._disturbed,
        )
        # Every topic is listened to as a pattern: Redis delivers once per subscription, so a
        # topic heard by name and by pattern would arrive twice.
        self._subscriptions = Subscriptions[_Payload](
            self._listener,
            begin=self._begin,
            end="PUNSUBSCRIBE",
            health_interval=option(options, "health_check_interval", 10.0),
        )
        self._patterns_by_inbox: dict[Inbox[_Payload], tuple[re.Pattern[str], ...]] = {}

    async def open(self) -> None:
        """Connect. Idempotent. Listening begins with the first listener."""
        self._listener.permit()
        await self._speaker.open()

    async def close(self) -> None:
        """Disconnect; whoever still listens is told. Idempotent."""
        await self._subscriptions.close(BrokerUnavailable("the fan-out was closed"))
        await self._listener.close()
        await self._speaker.close()

    async def broadcast(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Say something to whoever listens now; nothing is kept."""
        if payloads:
            channel = self._prefix + topic
            await self._speaker.call(*(("PUBLISH", channel, payload) for payload in payloads))

    @asynccontextmanager
    async def listen(
        self, topics: Sequence[str]
    ) -> AsyncGenerator[AsyncIterator[list[tuple[str, bytes]]]]:
        """Everything broadcast from the moment the context is entered, in batches.

        Args:
            topics: Exact names, or AMQP patterns (``*`` one word, ``#`` any number); words end at
                a dot or a slash.
        """
        globs = _disjoint([self._prefix_glob + _glob(topic) for topic in topics])
        inbox = Inbox[_Payload](_MOST_KEPT)
        self._patterns_by_inbox[inbox] = tuple(_pattern(topic) for topic in topics)
        try:
            await self._subscriptions.enter(globs, inbox)
            yield inbox
        finally:
            self._subscriptions.leave(globs, inbox)
            del self._patterns_by_inbox[inbox]

    @property
    def _prefix_glob(self) -> str:
        return _escaped(self._prefix)

    async def _begin(self, globs: Sequence[str]) -> None:
        await subscribe(self._listener, "PSUBSCRIBE", globs, pack("PING"))

    def _heard(self, push: Push) -> None:
        if push[0] != b"pmessage":
            return
        topic = push[2].decode("utf-8", "replace").removeprefix(self._prefix)
        for inbox in self._subscriptions.listeners(push[1].decode()):
            patterns = self._patterns_by_inbox.get(inbox, ())
            if any(pattern.fullmatch(topic) for pattern in patterns):
                inbox.add((topic, push[3]))

    def _disturbed(self) -> None:
        self._subscriptions.disturb()


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
    head, wild, _ = (
        re.split(r"([*#].*)", topic, maxsplit=1)
        if re.search("[*#]", topic)
        else (
            topic,
            "",
            "",
        )
    )
    if wild.startswith("#"):
        # "task.#" is "task" too.
        head = head.removesuffix(".").removesuffix("/")
    return _escaped(head) + ("*" if wild else "")


def _escaped(text: str) -> str:
    return re.sub(r"([\\?*\[\]^])", r"\\\1", text)


@lru_cache(maxsize=256)
def _pattern(topic: str) -> re.Pattern[str]:
    """What a topic matches, as a regular expression.

    >>> [bool(_pattern("a.#").fullmatch(text)) for text in ("a", "a.b", "a.b.c", "ab")]
    [True, True, True, False]
    """
    expression = ""
    for word in re.split(r"([./])", topic):
        if word == "#":
            # Any number of words with the separator before them, none included.
            expression = re.sub(r"\\?[./]$", "", expression)
            expression += r"(?:(?:^|[./])[^./]+)*" if expression else r".*"
        elif word == "*":
            expression += r"[^./]+"
        else:
            expression += re.escape(word)
    return re.compile(expression)
