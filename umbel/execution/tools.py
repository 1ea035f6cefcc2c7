"""What running tasks needs from the outside, handed in by the app."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, Protocol

import msgspec

from umbel.canvas.follow_up import Step
from umbel.execution.coroutines import Farewell
from umbel.execution.runnable import Runnable
from umbel.model import Message, ResultRecord
from umbel.protocols import Clock, Interrupts
from umbel.wire.results import ResultCodec

__all__ = ["CallSignature", "Encode", "Tools"]

_NOTHING: Mapping[str, Runnable] = {}


def _to_the_queue(name: str) -> tuple[str, str]:
    return "", name


class CallSignature(Protocol):
    """Runs what follows an eager task, here and now."""

    def __call__(
        self,
        signature: Mapping[str, Any],
        args: Sequence[object],
        context: Mapping[str, Any],
        *,
        rest: Sequence[Any] = (),
    ) -> None:
        """Call ``signature`` with ``args`` before its own arguments.

        Args:
            context: ``root_id`` and ``parent_id``.
            rest: What is chained behind it, in reverse.
        """
        ...


Encode = Callable[[Sequence[Step], str | None], Sequence[Message]]
"""Routes and encodes calls that follow a task; with where results that travel as messages are sent,
for those that do not say."""


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """What ``execute`` is given. One per process that runs tasks."""

    codec: ResultCodec
    accept: frozenset[str]
    """Content types that are read; the rest is refused."""
    limit: int
    """Bytes; no compressed body may unpack to more."""
    hostname: str
    """The worker's node name."""
    clock: Clock
    store: Callable[[Sequence[ResultRecord]], None]
    """Store at once, before going on: states of running tasks."""
    publish: Callable[[Sequence[Message]], None]
    """Publish at once, before going on."""
    encode: Encode
    route: Callable[[str], tuple[str, str]] = _to_the_queue
    """The exchange and routing key that reach a queue; raises where there is no such queue."""
    tasks: Mapping[str, Runnable] = msgspec.field(default_factory=lambda: _NOTHING)
    """Every task by name; error callbacks are looked up here."""
    timezone: tzinfo = UTC
    """Whose wall time a naive ``eta`` is."""
    call_signature: CallSignature
    """Calls what follows an eager run at once."""
    interrupts: Interrupts | None = None
    """How the pool that runs the tasks interrupts them; None: it does not."""
    farewell: Farewell | None = None
    """Awaited on each event loop that was made for ``async def`` tasks, before it is closed."""
    task_init: Callable[[str, Runnable], None] | None = None
    """The loader's ``on_task_init``, where it has one of its own."""
    process_cleanup: Callable[[], None] | None = None
    """The loader's ``on_process_cleanup``, where it has one of its own."""
