"""Asking workers: commands out, replies in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel.app.sending.ids import new_id
from umbel.exceptions import ContentDisallowed, DecodeError, ImproperlyConfigured
from umbel.wire.pidbox import (
    Command,
    Mailbox,
    Reply,
    ReplyTo,
    decode_reply,
    encode_command,
)

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.app.configuring.settings import Settings
    from umbel.model import Message
    from umbel.protocols import Fanout

__all__ = ["Asking", "mailbox_of"]


def mailbox_of(conf: Settings) -> Mailbox:
    """The exchanges and queues of remote control, as the settings want them.

    Raises:
        ImproperlyConfigured: Queues cannot be both durable and exclusive.
    """
    if conf.control_queue_durable and conf.control_queue_exclusive:
        raise ImproperlyConfigured(
            "control_queue_durable and control_queue_exclusive cannot both be True: exclusive "
            "queues go with their connection. Set control_queue_exclusive=False."
        )
    return Mailbox(
        namespace=conf.control_exchange,
        queue_ttl=conf.control_queue_ttl,
        queue_expires=conf.control_queue_expires,
        exclusive=conf.control_queue_exclusive,
        durable=conf.control_queue_durable,
    )


class Asking:
    """One command to workers, with what becomes of the replies.

    Each has an address of its own, so that any number of them may wait side by side, and replies
    that come too late reach nobody else.
    """

    def __init__(
        self,
        app: Umbel,
        method: str,
        arguments: Mapping[str, Any],
        *,
        destination: Sequence[str] | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
        fanout: Fanout | None = None,
    ) -> None:
        """Make one.

        Args:
            fanout: What to ask over; None: what the running loop has.
        """
        self._app = app
        self._fanout = fanout
        self._mailbox = mailbox_of(app.conf)
        self._oid = new_id()
        self._ticket = new_id()
        self._command = Command(
            method=method,
            arguments=arguments,
            destination=list(destination) if destination else None,
            pattern=pattern,
            matcher=matcher,
        )

    async def tell(self) -> None:
        """Send the command, and wait for nothing."""
        fanout = self._fanout or await self._app.connections.fanout()
        await fanout.broadcast(self._mailbox.exchange, [self._message(self._command, 0.0)])

    async def call(
        self,
        *,
        timeout: float | None,
        limit: int | None,
        callback: Callable[[dict[str, Any]], object] | None,
    ) -> list[dict[str, Any]]:
        """Send the command, and collect the replies.

        It ends when ``limit`` nodes have replied, or every node that was asked, where that is
        known (a destination, or a broker that counts its listeners); else when no reply has come
        for ``timeout`` seconds.
        """
        replies: list[dict[str, Any]] = []
        fanout = self._fanout or await self._app.connections.fanout()
        asks = Command(
            method=self._command.method,
            arguments=self._command.arguments,
            destination=self._command.destination,
            pattern=self._command.pattern,
            matcher=self._command.matcher,
            ticket=self._ticket,
            reply_to=ReplyTo(self._mailbox.reply_exchange.name, self._oid),
        )
        expires = self._app.wall_clock.time() + timeout if timeout else 0.0
        async with fanout.listen([self._mailbox.reply_queue(self._oid)]) as answers:
            count = await fanout.broadcast(self._mailbox.exchange, [self._message(asks, expires)])
            most = self._most(limit, count)
            while most is None or len(replies) < most:
                arrived = await _next(answers, timeout)
                if arrived is None:
                    break
                for reply in self._read(arrived)[: None if most is None else most - len(replies)]:
                    replies.append(reply.value_by_node)
                    if callback is not None:
                        callback(reply.value_by_node)
        return replies

    def _most(self, limit: int | None, count: int | None) -> int | None:
        destination = self._command.destination
        known = [
            number
            for number in (limit, len(destination) if destination else None, count)
            if number is not None
        ]
        return min(known, default=None)

    def _message(self, command: Command, expires: float) -> Message:
        return encode_command(
            command,
            mailbox=self._mailbox,
            serializer=self._app.conf.task_serializer,
            clock=self._app.clock.forward(),
            expires=expires,
        )

    def _read(self, messages: Sequence[Message]) -> list[Reply]:
        replies: list[Reply] = []
        for message in messages:
            try:
                reply, clock = decode_reply(message, accept=self._app.accept)
            except (ContentDisallowed, DecodeError):
                # Not a reply: whoever sent it here knows the address, and that is all.
                continue
            self._app.clock.adjust(clock)
            if reply.ticket in {None, self._ticket}:
                replies.append(reply)
        return replies


async def _next(
    answers: AsyncIterator[list[Message]], timeout: float | None
) -> list[Message] | None:
    # Only called on a running loop, which has imported asyncio long before.
    import asyncio

    try:
        async with asyncio.timeout(timeout):
            return await anext(answers)
    except TimeoutError:
        return None
