"""What a task asked for in case it fails, done for one whose process is gone."""

from __future__ import annotations

import logging

from umbel.canvas import follow_up
from umbel.exceptions import DecodeError, EncodeError, InvalidTaskError, SecurityError
from umbel.execution.tools import Encode
from umbel.model import Message, Request
from umbel.wire import tasks as wire

__all__ = ["ErrorCallbacks"]

logger = logging.getLogger(__name__)


class ErrorCallbacks:
    """Builds the messages of a request's error callbacks, in the worker's parent process."""

    def __init__(self, encode: Encode, *, accept: frozenset[str], limit: int) -> None:
        """Make one.

        Args:
            accept: Content types that are read.
            limit: Bytes that a body may unpack to.
        """
        self._encode = encode
        self._accept = accept
        self._limit = limit

    def __call__(self, request: Request) -> tuple[Message, ...]:
        """The messages; none where they cannot be made: the failure is recorded all the same."""
        try:
            body = wire.read_body(request, accept=self._accept, limit=self._limit)
            wave = follow_up.after_failure(
                id=request.id, root_id=request.root_id, errbacks=body.errbacks
            )
            return tuple(self._encode(wave.steps, request.message.reply_to))
        except (InvalidTaskError, DecodeError, EncodeError, SecurityError) as error:
            logger.error(  # noqa: TRY400 - the sentence says it all
                "Task %s[%s]: its error callbacks cannot be sent: %s",
                request.task,
                request.id,
                error,
            )
            return ()
