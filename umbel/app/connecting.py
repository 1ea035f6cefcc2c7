"""The part of an app that hands out connections, under Celery's names."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, cast

from umbel.app.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Generator

    from umbel.app.base import Umbel
    from umbel.app.messaging import Connection, Producer

__all__ = ["Connecting"]


class Connecting(Parts):
    """For programs that publish messages of their own; what umbel sends does not come by here.

    Source:
        Celery reference, ``celery.Celery``: ``connection`` and its kin.
    """

    def connection(self, hostname: str | None = None, **options: Any) -> Connection:
        """The way to the broker; connects when it is used.

        Args:
            hostname: The URL of another broker.
            options: Accepted for Celery's sake; a URL says all of it.
        """
        # Few programs ask for it; the module costs every producer its import.
        from umbel.app.messaging import Connection

        return Connection(hostname, app=cast("Umbel", self), **options)

    connection_for_write = connection
    broker_connection = connection

    def connection_for_read(self, url: str | None = None, **options: Any) -> Connection:
        """The way to the broker that workers take tasks from."""
        return self.connection(url or self.broker_read_url, **options)

    @contextmanager
    def connection_or_acquire(
        self, connection: Connection | None = None, pool: bool = True, *_: Any, **__: Any
    ) -> Generator[Connection]:
        """``connection``, else the app's."""
        yield connection or self.connection()

    default_connection = connection_or_acquire

    def producer_or_acquire(
        self, producer: Producer | None = None
    ) -> AbstractContextManager[Producer]:
        """``producer``, else one of the app's."""
        # As in connection().
        from umbel.app.messaging import producer_or_acquire

        return producer_or_acquire(cast("Umbel", self), producer)

    default_producer = producer_or_acquire
