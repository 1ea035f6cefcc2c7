"""``kombu.common``, ``kombu.pools``: loops over messages, and what hands out connections.

Source:
    kombu reference, ``kombu.common``, ``kombu.pools``: names, arguments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from umbel.app.connecting.handing_out import Pool
from umbel.app.connecting.publishing import Producer
from umbel.app.connecting.received import Consumer

__all__ = [
    "PoolGroup",
    "connections",
    "drain_consumer",
    "eventloop",
    "ignore_errors",
    "itermessages",
    "maybe_declare",
    "producers",
    "reset",
]


def eventloop(
    conn: Any,
    limit: int | None = None,
    timeout: float | None = None,
    ignore_timeouts: bool = False,
) -> Iterator[None]:
    """Have the consumers of a connection see to its messages; yields after each.

    Args:
        limit: How many messages.
        timeout: Seconds to wait for each.
        ignore_timeouts: Whether to go on when there was none in time.

    Raises:
        TimeoutError: There was none in time.
    """
    for _ in range(limit) if limit else count():
        try:
            conn.drain_events(timeout=timeout)
            yield
        except TimeoutError:
            if timeout and not ignore_timeouts:
                raise


def drain_consumer(
    consumer: Any, limit: int = 1, timeout: float | None = None, callbacks: Any = None
) -> Iterator[tuple[Any, Any]]:
    """The contents and the messages that a consumer receives."""
    found: deque[tuple[Any, Any]] = deque()

    def keep(body: Any, message: Any) -> None:
        found.append((body, message))

    consumer.callbacks = [*(callbacks or ()), keep]
    with consumer:
        for _ in eventloop(consumer.connection, limit, timeout, ignore_timeouts=True):
            while found:
                yield found.popleft()


def itermessages(
    conn: Any,
    channel: Any,
    queue: Any,
    limit: int = 1,
    timeout: float | None = None,
    callbacks: Any = None,
    **kwargs: Any,
) -> Iterator[tuple[Any, Any]]:
    """The contents and the messages of a queue."""
    return drain_consumer(
        Consumer(channel or conn, queues=[queue], **kwargs), limit, timeout, callbacks
    )


def maybe_declare(entity: Any, channel: Any = None, **_: Any) -> bool:
    """Make a queue or an exchange exist; one that is not bound is to be given a channel."""
    bound = entity(channel) if channel is not None else entity
    bound.declare()
    return True


@contextmanager
def _ignoring(errors: tuple[type[Exception], ...]) -> Generator[None]:
    try:
        yield
    except errors:
        return


def ignore_errors(
    conn: Any, fun: Callable[..., Any] | None = None, *args: Any, **kwargs: Any
) -> Any:
    """Call ``fun``, whatever becomes of the connection; without one, a context in which that does
    not matter."""
    context = _ignoring((*conn.connection_errors, *conn.channel_errors))
    if fun is None:
        return context
    with context:
        return fun(*args, **kwargs)


class PoolGroup(dict[Any, Pool]):
    """A pool for each connection: ``producers[connection].acquire(block=True)``."""

    def __init__(self, limit: int | None = None, make: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.limit = limit
        self._make = make

    def create(self, connection: Any, limit: int | None) -> Pool:
        """The pool of a connection; to be overridden."""
        make = self._make
        if make is None:
            raise NotImplementedError("PoolGroups must define ``create``")
        return Pool(lambda: make(connection), limit)

    def __missing__(self, connection: Any) -> Pool:
        pool = self[connection] = self.create(connection, self.limit)
        return pool


connections = PoolGroup(make=lambda connection: connection.clone())
producers = PoolGroup(make=Producer)


def reset(*_: Any, **__: Any) -> None:
    """Forget all pools, and close what they have handed out."""
    for group in (connections, producers):
        for pool in group.values():
            pool.force_close_all()
        group.clear()
