"""What a task leaves behind that has ended without a word: it was revoked, its process is gone, it
is not here. Its error callbacks are sent, the chord that it is a member of hears of it, and what
was to come after it has failed."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from umbel.canvas import endings, follow_up
from umbel.canvas.composing import Failure
from umbel.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    InvalidTaskError,
    SecurityError,
    TooLarge,
)
from umbel.execution.errbacks import sendable
from umbel.execution.membership import member
from umbel.execution.runnable import Runnable
from umbel.execution.tools import Encode
from umbel.model import Arrival, Expected, Message, Request, ResultRecord
from umbel.wire import tasks as wire
from umbel.wire.body import Body
from umbel.wire.results import ResultCodec

__all__ = ["Aftermath", "Aftermaths"]

logger = logging.getLogger(__name__)


class Aftermath(msgspec.Struct, frozen=True):
    """What there is to do, beside storing how the task ended."""

    publish: tuple[Message, ...] = ()
    """Error callbacks."""
    expect: tuple[Expected, ...] = ()
    """The chords that start with them."""
    tail: tuple[ResultRecord, ...] = ()
    """The failure of what was to come after the task."""
    arrivals: tuple[Arrival, ...] = ()
    """At chords: its own, or those of what was to come after it."""
    is_forged: bool = False
    """Whether the message is signed, and by nobody who is trusted: nothing it says is to be
    believed, its id included."""


class Aftermaths:
    """Reads what a request asks for in case it fails, in the worker's parent process."""

    def __init__(
        self,
        encode: Encode,
        codec: ResultCodec,
        *,
        accept: frozenset[str],
        limit: int,
        tasks: Mapping[str, Runnable],
    ) -> None:
        """Make one.

        Args:
            accept: Content types that are read.
            limit: Bytes that a body may unpack to.
            tasks: Every task by name; error callbacks are looked up here.
        """
        self._tasks = tasks
        self._encode = encode
        self._codec = codec
        self._accept = accept
        self._limit = limit

    def __call__(
        self, request: Request, record: ResultRecord, *, calls_back: bool, is_refused: bool = False
    ) -> Aftermath:
        """What the task leaves behind; where that cannot be read, its place in a group: how it
        ended is recorded all the same.

        Args:
            record: How it ended, complete even where it is not kept.
            calls_back: Whether its error callbacks are sent: a revoked task has not failed.
            is_refused: Whether the message was found to be faulty, and that has been said.
        """
        try:
            body = wire.read_body(request, accept=self._accept, limit=self._limit)
        except (InvalidTaskError, DecodeError, TooLarge, ContentDisallowed) as error:
            if not is_refused:
                _not_read(request, error)
            return Aftermath(arrivals=endings.unread(request.message, record))
        except SecurityError as error:
            _not_read(request, error)
            return Aftermath(is_forged=True)
        ending = endings.NOTHING
        if body.chord is not None or body.chain:
            ending = self._ending(request, body, record)
        calls_back = calls_back and bool(body.errbacks)
        wave = self._called_back(request, body, record) if calls_back else follow_up.NOTHING
        try:
            publish = tuple(self._encode(wave.steps, request.message.reply_to))
        except (InvalidTaskError, EncodeError) as error:
            _not_sent(request, error)
            publish = ()
        return Aftermath(publish, wave.expect if publish else (), ending.tail, ending.arrivals)

    def _ending(self, request: Request, body: Body, record: ResultRecord) -> endings.Ending:
        error, traceback = self._error(request, record)
        return endings.ended(member(request, body), record, error, traceback, self._codec)

    def _error(self, request: Request, record: ResultRecord) -> tuple[BaseException, str | None]:
        meta = self._codec.read(record)
        error = meta.result
        if not isinstance(error, BaseException):
            error = Exception(f"{request.task}[{request.id}] ended as {meta.status}")
        return error, meta.traceback

    def _called_back(self, request: Request, body: Body, record: ResultRecord) -> follow_up.Wave:
        error, traceback = self._error(request, record)
        failure = Failure(request.id, request.task, error, traceback, request.root_id)
        try:
            return follow_up.after_failure(
                id=request.id,
                root_id=request.root_id,
                # No user code runs here: what takes more than an id is called by a task.
                errbacks=sendable(body.errbacks or (), failure, self._tasks),
            )
        except InvalidTaskError as error:
            _not_sent(request, error)
            return follow_up.NOTHING


def _not_read(request: Request, error: Exception) -> None:
    logger.error(
        "Task %s[%s]: who is to hear of its end cannot be read: %s",
        request.task,
        request.id,
        error,
    )


def _not_sent(request: Request, error: Exception) -> None:
    logger.error(
        "Task %s[%s]: its error callbacks cannot be sent: %s", request.task, request.id, error
    )
