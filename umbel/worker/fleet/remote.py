"""Listening to remote control: commands in, replies out."""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from umbel.app.operating.listening import keep_listening
from umbel.exceptions import (
    BrokerUnavailable,
    ContentDisallowed,
    DecodeError,
    EncodeError,
    OperationalError,
    UmbelError,
)
from umbel.model import Message
from umbel.protocols import Fanout
from umbel.wire.pidbox import (
    Command,
    Mailbox,
    ReplyTo,
    decode_command,
    encode_reply,
    is_for,
    reply_exchange,
)
from umbel.worker.commands import Panel
from umbel.worker.commands.state import ControlState

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["Remote"]

logger = logging.getLogger(__name__)

_NO_REPLY = object()
"""What becomes of a command that ends the worker."""

_AT_START = 5.0
"""Seconds for which a worker waits until it can be reached, before it starts all the same."""


class Remote:
    """One node of remote control. Nothing that comes in here can end the worker."""

    def __init__(self, fanout: Fanout, mailbox: Mailbox, state: ControlState) -> None:
        self._fanout = fanout
        self._mailbox = mailbox
        self._state = state
        self._app: Umbel = state.app
        self._node: str = state.hostname
        self._listening = asyncio.Event()

    async def reachable(self) -> None:
        """Wait until it listens, but not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_AT_START):
                await self._listening.wait()

    async def serve(self) -> None:
        """Answer, until cancelled."""
        await keep_listening(
            self._fanout,
            self._mailbox.queue(self._node),
            self._hear,
            clock=self._app.wall_clock,
            listening=self._listening.set,
            deaf=partial(logger.warning, "Remote control is not possible at the moment: %s"),
        )

    async def _hear(self, message: Message) -> None:
        try:
            command, clock = decode_command(message, accept=self._app.accept)
            self._app.clock.adjust(clock)
            asked = is_for(command, self._node)
        except (ContentDisallowed, DecodeError) as error:
            logger.error("Cannot decode message: %r", error)  # noqa: TRY400 - it is said above
            return
        if asked:
            await self._answer(command)

    async def _answer(self, command: Command) -> None:
        logger.debug(
            "pidbox received method %s(%s) [reply_to:%s ticket:%s]",
            command.method,
            ", ".join(f"{name}={value!r}" for name, value in command.arguments.items()),
            command.reply_to,
            command.ticket,
        )
        value = await self._carry_out(command)
        if command.reply_to is None or value is _NO_REPLY:
            return
        message = self._reply(value, command.reply_to, command.ticket)
        try:
            await self._fanout.broadcast(reply_exchange(message.exchange), [message])
        except (BrokerUnavailable, OperationalError, EncodeError) as error:
            logger.warning("Could not reply to %s: %s", command.method, error)

    async def _carry_out(self, command: Command) -> Any:
        function = Panel.data.get(command.method)
        if function is None:
            logger.error("No such control command: %s", command.method)
            return {"error": repr(KeyError(command.method))}
        try:
            value = function(self._state, **command.arguments)
            return await value if inspect.isawaitable(value) else value
        except Exception as error:  # the outermost handler of commands: they may be the user's
            logger.exception("Control command error: %s", command.method)
            return {"error": repr(error)}
        except SystemExit:
            # What ``shutdown`` raises, and commands of one's own may.
            self._state.worker.stop("warm", "remote control")
            return _NO_REPLY

    def _reply(self, value: Any, to: ReplyTo, ticket: str | None) -> Message:
        def encode(value: Any) -> Message:
            return encode_reply(
                self._node,
                value,
                to=to,
                ticket=ticket,
                serializer=self._app.conf.task_serializer,
                clock=self._app.clock.forward(),
            )

        try:
            return encode(value)
        except (UmbelError, TypeError, ValueError) as error:
            return encode({"error": repr(error)})
