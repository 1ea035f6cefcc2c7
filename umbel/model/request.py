"""What workers run."""

from __future__ import annotations

import msgspec

from umbel.model.message import Message

__all__ = ["Request"]


class Request(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A message understood: which task, which call, under which limits.

    What crosses to a child process, as msgpack. The body stays encoded until then.
    """

    key: int
    """Ours alone: two deliveries of one task id are two requests with two keys."""
    id: str
    task: str
    message: Message
    queue: str = ""
    attempt: int = 1
    """See :attr:`umbel.model.Delivery.attempt`."""
    redelivered: bool = False
    """Whether the message had been handed out before."""
    retries: int = 0
    eta: float | None = None
    """Unix seconds."""
    expires: float | None = None
    """Unix seconds."""
    time_limit: float | None = None
    soft_time_limit: float | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    ignore_result: bool | None = None
    """None: as the task says."""
    publication: str | None = None
    """Which publication of the task this is, where there may be several, of which one may run."""
    protocol: int = 2
    """The task message protocol the message is written in: 1 or 2."""
    tell: int = 0
    """Whether the outcome is to say, for people, what came of it; one of the styles of
    :mod:`umbel.wire.news`. 0: no."""
    args_shown: str | None = None
    """The ``repr`` that the message shows people; None when nothing is to be told, or it has
    none."""
    kwargs_shown: str | None = None
