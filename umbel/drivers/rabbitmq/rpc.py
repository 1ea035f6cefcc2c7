"""``rpc://``: results as messages to whoever asked, wire-compatible with Celery's.

A task's message says where its answers go (``reply_to``: the caller's own queue) and what they
are called (``correlation_id``). Whoever sends tasks declares that queue first; RabbitMQ keeps
what comes until somebody in that process asks for a result. Only that process can.

Source:
    Celery user guide, Tasks, "RPC Result Backend (RabbitMQ/QPid)"; queue and message properties
    observed with Celery 5.7.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from pamqp import commands

from umbel.drivers.rabbitmq import address, contents
from umbel.drivers.rabbitmq.channel import (
    Arrived,
    Channel,
    ChannelClosed,
    LinkLost,
)
from umbel.drivers.rabbitmq.channel import Listener as ChannelListener
from umbel.drivers.rabbitmq.connection import Client, options_of
from umbel.drivers.rabbitmq.mailbox import Listener, Mailbox
from umbel.drivers.rabbitmq.methods import Consume, DeclareQueue
from umbel.drivers.rabbitmq.publishing import Publisher
from umbel.drivers.rabbitmq.topology import Topology, arguments_of, default_queue
from umbel.exceptions import (
    BackendClosed,
    BackendStoreError,
    BackendUnavailable,
    BatchError,
    DecodeError,
    TooLarge,
)
from umbel.model import Arrival, Expected, FullChord, GroupRecord, Message, ResultRecord
from umbel.protocols import Clock
from umbel.states import FAILURE
from umbel.wire.documents import peek_state

__all__ = ["NO_CHORDS", "RpcBackend"]

NO_CHORDS = (
    'The "rpc" result backend does not support chords! '
    "A group followed by a task is a chord, too: somebody must count its members, and messages "
    "cannot. Set result_backend to a URL of Redis or SQLite."
)
_NO_GROUPS = (
    "save_group is not supported by the rpc:// result backend: nothing is stored. Keep the "
    "GroupResult, or its as_tuple()."
)
_PATIENT_RETRIES = 12
"""Rounds of attempts to find RabbitMQ again for who waits for results: about half a minute."""


class RpcBackend:
    """Implements ``umbel.protocols.ResultBackend``, but for groups and chords.

    Workers store: each record with a ``reply_to`` becomes a confirmed message to that queue; one
    without, or to a queue that is gone, is dropped, since nobody waits for it. Clients load and
    watch: from then on the queue is emptied into the mailbox.

    Args:
        mailbox: Shared by all backends of the process, on whichever event loop.
        persistent: Whether results survive a restart of RabbitMQ, as ``result_persistent``.
        content_type: Of the documents that are stored.
        max_retries: Further attempts to connect before a store fails.
    """

    counts_chords = False

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        mailbox: Mailbox,
        persistent: bool = False,
        content_type: str = "application/json",
        content_encoding: str = "utf-8",
        transport_options: Mapping[str, object] | None = None,
        connect_timeout: float = 4.0,
        max_retries: int = 3,
    ) -> None:
        options = transport_options or {}
        addresses = address.parse(url, options.get("ssl"))

        def client(retries: int) -> Client:
            return Client(
                addresses,
                clock=clock,
                options=options_of(
                    options,
                    connect_timeout=connect_timeout,
                    max_retries=retries,
                    name=f"umbel-results-{secrets.token_hex(6)}",
                ),
                error=BackendUnavailable,
            )

        self._clock = clock
        self._mailbox = mailbox
        self._content_type = content_type
        self._content_encoding = content_encoding
        self._delivery_mode = 2 if persistent else 1
        self._outgoing = client(max_retries)
        self._incoming = client(_PATIENT_RETRIES)
        self._publisher = Publisher(
            self._outgoing,
            Topology(self._outgoing, default_queue),
            clock,
            confirm_timeout=float(str(options.get("confirm_timeout") or 30.0)),
            mandatory=False,
        )
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._arrived: list[Arrived] = []
        self._listeners: set[Listener] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._disturbed = asyncio.Event()

    async def open(self) -> None:
        """Be ready to connect when the first record is stored, or asked for. Idempotent."""
        self._outgoing.permit()
        self._incoming.permit()

    async def close(self) -> None:
        """Disconnect. The queue goes, too, if results were taken from it here. Idempotent."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        reason = BackendClosed("the result backend was closed while it was watched")
        for listener in self._listeners:
            listener.fail(reason)
        channel, self._channel = self._channel, None
        if channel is not None and channel.closed is None:
            # Refused when another event loop of this process still listens.
            with suppress(LinkLost, ChannelClosed):
                await channel.call(
                    commands.Basic.Cancel(consumer_tag=self._incoming.name),
                    commands.Queue.Delete(queue=self._mailbox.queue.name, if_unused=True),
                )
        try:
            await self._incoming.close()
        finally:
            await self._outgoing.close()

    async def store(self, records: Sequence[ResultRecord]) -> None:
        """Send the records to who waits for them; RabbitMQ has confirmed them when it returns.

        Raises:
            BackendStoreError: RabbitMQ refuses one, because a property of it is too long.
        """
        sent = [record for record in records if record.reply_to]
        if not sent:
            return
        try:
            await self._publisher.publish([self._message(record) for record in sent])
        except BatchError as exc:
            index, why = next(iter(exc.errors.items()))
            record = sent[index]
            raise BackendStoreError(
                f"cannot send the result of task {record.id!r} to {record.reply_to!r}: {why}",
                state=record.state,
                task_id=record.id,
            ) from why

    async def load(self, ids: Sequence[str]) -> dict[str, ResultRecord]:
        """What has come of the tasks; what another process sent is not ours to see."""
        if not ids:
            return {}
        await self._catch_up()
        return self._mailbox.find(ids, self._clock.time())

    async def forget(self, ids: Sequence[str]) -> None:
        """Drop what has come of the tasks."""
        if ids:
            await self._catch_up()
            self._mailbox.forget(ids)

    @asynccontextmanager
    async def watch(self, ids: Sequence[str]) -> AsyncGenerator[AsyncIterator[list[ResultRecord]]]:
        """Every record of ``ids``: those that came already, then each change."""
        names = list(dict.fromkeys(ids))
        listener = Listener()
        self._mailbox.enter(names, listener)
        self._listeners.add(listener)
        try:
            found = await self.load(names)
            if found:
                listener.add(found.values())
            yield listener
        finally:
            self._listeners.discard(listener)
            self._mailbox.leave(names, listener)

    async def store_groups(self, groups: Sequence[GroupRecord]) -> None:
        """Refused: nothing is stored.

        Raises:
            NotImplementedError: There are any.
        """
        if groups:
            raise NotImplementedError(_NO_GROUPS)

    async def load_groups(self, ids: Sequence[str]) -> dict[str, GroupRecord]:
        """Refused, as :meth:`store_groups`."""
        if ids:
            raise NotImplementedError(_NO_GROUPS)
        return {}

    async def forget_groups(self, ids: Sequence[str]) -> None:
        """Nothing to forget."""

    async def expect(self, expected: Sequence[Expected]) -> None:
        """Refused, as :meth:`arrive`."""
        if expected:
            raise NotImplementedError(NO_CHORDS)

    async def enlarge(self, members: Mapping[str, Sequence[str]]) -> None:
        """Refused, as :meth:`arrive`."""
        if members:
            raise NotImplementedError(NO_CHORDS)

    async def arrive(self, arrivals: Sequence[Arrival]) -> list[FullChord]:
        """Refused: nothing is counted.

        Raises:
            NotImplementedError: There are any.
        """
        if arrivals:
            raise NotImplementedError(NO_CHORDS)
        return []

    async def seal(self, chord_ids: Sequence[str]) -> None:
        """Refused, as :meth:`arrive`."""
        if chord_ids:
            raise NotImplementedError(NO_CHORDS)

    async def claim(self, publications: Sequence[tuple[str, str]]) -> list[bool]:
        """Nobody has been told of any other."""
        return [True for _ in publications]

    async def prune(self, *, before: float, limit: int) -> int:
        """Nothing to do: RabbitMQ and the mailbox drop what has expired."""
        return 0

    def _message(self, record: ResultRecord) -> Message:
        return Message(
            id=record.id,
            body=record.body,
            content_type=self._content_type,
            content_encoding=self._content_encoding,
            correlation_id=record.correlation_id or record.id,
            routing_key=record.reply_to or "",
            properties={"delivery_mode": self._delivery_mode},
            expires_at=record.expires_at,
        )

    # Listening --------------------------------------------------------------------------------

    async def _catch_up(self) -> None:
        """Listen, and wait until everything is here that RabbitMQ has.

        A queue that has been counted has pushed what it had; a channel that has answered after
        that has passed it on.
        """
        losses = 0
        while True:
            try:
                channel = await self._listen()
                await channel.call(DeclareQueue(queue=self._mailbox.queue.name, passive=True))
                await channel.call(commands.Basic.Qos(prefetch_count=0))
            except (LinkLost, ChannelClosed) as exc:
                losses += 1
                if losses > _PATIENT_RETRIES:
                    raise self._incoming.lost(exc) from exc
            else:
                return

    async def _listen(self) -> Channel:
        """The channel that the queue is emptied over, opened first if need be."""
        async with self._opening:
            link = await self._incoming.link()
            channel = self._channel
            if channel is not None and channel.closed is None and channel.link is link:
                return channel
            channel = await link.channel(
                ChannelListener(
                    delivered=self._arrived.append,
                    rest=self._take_in,
                    cancelled=self._cancelled,
                    closed=self._lose,
                )
            )
            self._arrived.clear()
            self._channel = channel
            queue = self._mailbox.queue
            await channel.call(
                DeclareQueue(queue=queue.name, durable=True, arguments=arguments_of(queue)),
                Consume(queue=queue.name, consumer_tag=self._incoming.name),
            )
            if self._keeper is None:
                self._keeper = asyncio.get_running_loop().create_task(self._keep())
            return channel

    async def _keep(self) -> None:
        """Listen again after a loss, for those who wait."""
        while True:
            await self._disturbed.wait()
            self._disturbed.clear()
            if not self._listeners:
                continue
            try:
                await self._catch_up()
            except BackendUnavailable as exc:
                for listener in self._listeners:
                    listener.fail(exc)

    def _take_in(self) -> None:
        channel = self._channel
        if channel is None or not self._arrived:
            return
        last = self._arrived[-1].tag
        now = self._clock.time()
        self._mailbox.put([_record(arrived, now) for arrived in self._arrived])
        self._arrived.clear()
        channel.write(contents.ack(channel.number, last, multiple=True))

    def _cancelled(self, _: str) -> None:
        # The queue was deleted under us: made anew by whoever listens next.
        if self._channel is not None:
            self._channel.lose(ChannelClosed(404, "the queue of results was deleted"))

    def _lose(self, _: Exception) -> None:
        self._disturbed.set()


def _record(arrived: Arrived, now: float) -> ResultRecord:
    try:
        fields = contents.Properties(arrived.header).fields
        name = str(fields.get("correlation_id") or "")
        lifetime = fields.get("expiration")
        state = peek_state(arrived.body)
    except (DecodeError, TooLarge):
        # It will never get better: whoever waits learns from the codec what is wrong with it.
        name, lifetime, state = _name_in(arrived.header), None, FAILURE
    return ResultRecord(
        id=name,
        state=state,
        body=arrived.body,
        expires_at=now + int(lifetime) / 1000
        if isinstance(lifetime, str) and lifetime.isdigit()
        else None,
    )


def _name_in(header: bytes) -> str:
    try:
        return str(contents.Properties(header).fields.get("correlation_id") or "")
    except DecodeError:
        return ""
