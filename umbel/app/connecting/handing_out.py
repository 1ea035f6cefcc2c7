"""The part of an app that hands out connections, under Celery's names."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

from umbel.app.connecting import drivers
from umbel.app.parts import Parts
from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Generator

    from umbel.app.base import Umbel
    from umbel.app.configuring.loaders import Loader
    from umbel.app.configuring.settings import Settings
    from umbel.app.connecting.messaging import Connection, Producer

__all__ = ["Connecting", "Pool"]


class Pool:
    """Hands out connections, or what is made with them: ``with app.pool.acquire() as connection``.

    Nobody waits for one: what is handed out shares the app's connection.

    Source:
        kombu reference, ``kombu.connection.ConnectionPool``: names.
    """

    def __init__(self, make: Callable[[], Any], limit: int | None = None) -> None:
        self.limit = limit
        self._make = make
        self._out: WeakSet[Any] = WeakSet()

    def acquire(self, block: bool = False, timeout: float | None = None) -> Any:
        """One of them, to be released."""
        made = self._make()
        self._out.add(made)
        return made

    def release(self, resource: Any) -> None:
        """Take one back."""
        resource.release()

    def resize(self, limit: int | None, **_: Any) -> None:
        """Say how many there may be."""
        self.limit = limit

    def force_close_all(self, close_pool: bool = True) -> None:
        """Close what was handed out."""
        for resource in list(self._out):
            resource.release()


class Connecting(Parts):
    """For programs that publish messages of their own, or ask the result backend themselves; what
    umbel sends and stores does not come by here.

    Source:
        Celery reference, ``celery.Celery``: ``backend``, ``connection`` and its kin.
    """

    loader: Loader

    def _named(self, backend: str | type[Any] | None) -> str | None:
        """What the settings say of ``backend``: classes have no place in them."""
        if not isinstance(backend, type):
            return backend
        self.backend_cls = backend
        return None

    @property
    def backend(self) -> Any:
        """The result backend under Celery's names; each thread has one, unless
        ``result_backend_thread_safe`` says that they can share it."""
        kept = self._derive("backends", _place)
        if getattr(kept, "pid", None) != os.getpid():
            kept.backend, kept.pid = self._make_own_backend(), os.getpid()
        return kept.backend

    def _make_own_backend(self) -> Any:
        # Few programs ask for it; the package costs every producer its import.
        from umbel.app import backends

        if self.foreign_backend is not None:
            kind, url = self.foreign_backend
            return kind(app=self, url=url)
        app, url = cast("Umbel", self), self.backend_url
        if url == drivers.DISABLED:
            return backends.DisabledBackend(app, url=url)
        return backends.NativeBackend(app, url=url)

    @property
    def foreign_backend(self) -> tuple[Any, str | None] | None:
        """The class of a result backend made for Celery, and its URL; None: it is one of umbel's.

        Raises:
            ImproperlyConfigured: There is no such class.
        """
        return self._derive("foreign_backend", self._find_foreign_backend)

    def _find_foreign_backend(self, conf: Settings) -> tuple[Any, str | None] | None:
        named: Any = self.backend_cls
        if named is None and conf.is_set("result_backend"):
            named = conf.result_backend
        if not named or (isinstance(named, str) and drivers.is_own(named)):
            return None
        # As in _make_own_backend.
        from umbel.app.backends.finding import by_url

        try:
            found, url = by_url(named, self.loader)
        except ImproperlyConfigured:
            if isinstance(named, str) and "://" in named:
                # It looks like an address: whoever opens it says which there are.
                return None
            raise
        return found, url

    def connection(self, hostname: str | None = None, **options: Any) -> Connection:
        """The way to the broker; connects when it is used.

        Args:
            hostname: The URL of another broker.
            options: Accepted for Celery's sake; a URL says all of it.
        """
        # Few programs ask for it; the module costs every producer its import.
        from umbel.app.connecting.messaging import Connection

        return Connection(hostname, app=cast("Umbel", self), **options)

    broker_connection = connection

    def connection_for_write(self, url: str | None = None, **options: Any) -> Connection:
        """The way to the broker that tasks are sent to."""
        return self.connection(url, **options)

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
        from umbel.app.connecting.messaging import producer_or_acquire

        return producer_or_acquire(cast("Umbel", self), producer)

    default_producer = producer_or_acquire

    @property
    def pool(self) -> Pool:
        """Hands out connections to the broker."""
        return self._derive("pool", lambda conf: Pool(self.connection, conf.broker_pool_limit))

    @property
    def producer_pool(self) -> Pool:
        """Hands out what publishes."""
        return self._derive(
            "producer_pool",
            lambda conf: Pool(lambda: self.connection().Producer(), conf.broker_pool_limit),
        )


def _place(conf: Settings) -> Any:
    """Where backends are kept."""
    return SimpleNamespace() if conf.result_backend_thread_safe else threading.local()
