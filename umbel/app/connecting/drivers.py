"""URL scheme → driver: the one table that knows which drivers there are."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from umbel.app.configuring.suggestions import did_you_mean
from umbel.app.connecting.urls import database_of, safe_url
from umbel.exceptions import ImproperlyConfigured
from umbel.serialization import registry

if TYPE_CHECKING:
    from umbel.model import Queue, Retention
    from umbel.protocols import Broker, Clock, Fanout, ResultBackend, ScheduleStore

__all__ = [
    "DEFAULT_URL",
    "DISABLED",
    "Access",
    "Replies",
    "driver_of",
    "is_own",
    "keeps_results",
    "keeps_schedules",
    "make_backend",
    "make_broker",
    "make_console",
    "make_fanout",
    "make_legacy_backend",
    "make_mailbox",
    "make_rpc_backend",
    "make_schedule_file",
    "sends_results",
]

DEFAULT_URL = "sqlite://"
"""The embedded default: the project's own database file; see
:func:`umbel.app.connecting.urls.default_database`."""

DISABLED = "disabled://"
"""The result backend that keeps nothing."""

_DRIVER_BY_SCHEME = {
    "memory": "memory",
    "in-memory": "memory",
    "cache+memory": "memory",
    "sqlite": "sqlite",
    "redis": "redis",
    "rediss": "redis",
    "redis+socket": "redis",
    "redis+cluster": "redis",
    "rediss+cluster": "redis",
    "sentinel": "redis",
    "unix": "redis",
    "socket": "redis",
    "valkey": "redis",
    "valkeys": "redis",
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "pyamqp": "rabbitmq",
    "librabbitmq": "rabbitmq",
    "rabbitmq": "rabbitmq",
}

_EXTRA_BY_DRIVER = {"redis": "redis", "rabbitmq": "rabbitmq"}

_RESULT_DRIVERS = {"memory", "sqlite", "redis"}

_SCHEDULING_DRIVERS = {"memory", "sqlite", "redis"}
"""Those whose brokers keep periodic tasks."""

_Role = Literal["broker", "backend", "fanout"]

_SENDING_DRIVERS = {"rabbitmq"}
"""Those that can carry results as messages."""


class Access(NamedTuple):
    """Where a server is, and how its client gets there; it can be sent to another process if the
    options can."""

    url: str
    clock: Clock
    options: Mapping[str, Any]
    """``broker_transport_options``, or those of the result backend."""
    project: str
    """Names the default database (:func:`~umbel.app.connecting.urls.default_database`)."""
    connect_timeout: float = 4.0
    """Seconds."""
    max_retries: int | None = 0
    """Connection attempts after the first one has failed; None: for ever."""

    def of_server(self) -> dict[str, Any]:
        """What clients of servers are made with, besides the URL."""
        return {
            "clock": self.clock,
            "transport_options": self.options,
            "connect_timeout": self.connect_timeout,
            "max_retries": self.max_retries,
        }

    def of_file(self) -> dict[str, Any]:
        """What clients of a database file are made with, besides its path."""
        durability = {name: self.options[name] for name in ("synchronous",) if name in self.options}
        return {"clock": self.clock, **durability}


class Replies(NamedTuple):
    """How results come back to a process as messages, with ``rpc://``."""

    mailbox: Any
    """Where they are kept until they are asked for; the driver's own."""
    persistent: bool
    """Whether they survive a restart of the broker."""
    serializer: str
    """By name."""


def driver_of(url: str) -> str:
    """The name of the driver that serves ``url``.

    Raises:
        ImproperlyConfigured: No driver serves URLs of this scheme.

    >>> driver_of("rediss://:secret@example.com/1")
    'redis'
    """
    scheme = url.partition("://")[0].lower() if "://" in url else url.lower()
    driver = _DRIVER_BY_SCHEME.get(scheme)
    if driver is None:
        raise ImproperlyConfigured(_no_driver(url, scheme))
    return driver


def _no_driver(url: str, scheme: str) -> str:
    if "://" not in url and (":" in url or "." in url):
        return f"{safe_url(url)!r} is no URL: it begins with a scheme, as in redis://{url}."
    return (
        f"no driver serves {safe_url(url)!r} (scheme {scheme!r})."
        f"{did_you_mean(scheme, _DRIVER_BY_SCHEME)} This release has memory://, sqlite://, "
        "redis:// and amqp://; other brokers and result backends are not in it yet."
    )


def is_own(backend: str) -> bool:
    """Whether ``result_backend`` is one of umbel's: others are looked up by their names.

    >>> is_own("redis://localhost/0"), is_own("django-db")
    (True, False)
    """
    scheme = backend.partition("://")[0].lower()
    return scheme in _DRIVER_BY_SCHEME or scheme in {"rpc", "disabled"}


def keeps_results(broker_url: str) -> bool:
    """Whether what serves as this broker can serve as the result backend too."""
    return driver_of(broker_url) in _RESULT_DRIVERS


def keeps_schedules(broker_url: str) -> bool:
    """Whether what serves as this broker keeps periodic tasks too."""
    return driver_of(broker_url) in _SCHEDULING_DRIVERS


def sends_results(backend_url: str) -> bool:
    """Whether results are messages, over the broker.

    >>> sends_results("rpc://"), sends_results("redis://localhost/0")
    (True, False)
    """
    return backend_url.partition("://")[0].lower() == "rpc"


def make_mailbox(broker_url: str, name: str, expires: float | None) -> Any:
    """Where a process keeps the results that come as messages.

    Args:
        name: The address that results are sent to.
        expires: Seconds that they are kept; None: for ever.

    Raises:
        ImproperlyConfigured: The broker cannot carry them.
    """
    driver = driver_of(broker_url)
    if driver not in _SENDING_DRIVERS:
        message = (
            f"result_backend='rpc://' sends results over the broker, and {safe_url(broker_url)!r} "
            "cannot carry them: it needs RabbitMQ (amqp://…). Set result_backend to the URL of a "
            "result backend."
        )
        raise ImproperlyConfigured(message)
    return _load(driver, "mailbox").Mailbox(name, expires)


def make_rpc_backend(access: Access, replies: Replies) -> ResultBackend:
    """What sends results over the broker, and receives them; see :func:`make_broker`."""
    serializer = registry.serializer(replies.serializer)
    backend: ResultBackend = _load(driver_of(access.url), "rpc").RpcBackend(
        access.url,
        mailbox=replies.mailbox,
        persistent=replies.persistent,
        content_type=serializer.content_type,
        content_encoding=serializer.content_encoding,
        **access.of_server(),
    )
    return backend


def make_console(access: Access) -> Any:
    """What says single methods of AMQP to the broker, not opened yet; see :func:`make_broker`.

    Raises:
        ImproperlyConfigured: The broker does not speak AMQP.
    """
    driver = driver_of(access.url)
    if driver != "rabbitmq":
        raise ImproperlyConfigured(
            f"{safe_url(access.url)} does not speak AMQP: this is for RabbitMQ. 'umbel purge', "
            "'umbel list bindings' and 'umbel dead' work with every broker."
        )
    return _load(driver, "console").Console(
        access.url,
        clock=access.clock,
        transport_options=access.options,
        connect_timeout=access.connect_timeout,
    )


def make_broker(
    access: Access,
    *,
    lease: float,
    keep_dead: Retention | None = None,
    make_queue: Callable[[str], Queue] | None = None,
    exchange_type: Callable[[str], str | None] = lambda _: None,
    replies: Replies | None = None,
) -> Broker:
    """A broker client, not opened yet; it belongs to the loop that opens it.

    Args:
        lease: Seconds a message is ours before it must be renewed.
        keep_dead: Which dead letters are kept; None: as many as the driver says.
        make_queue: What a queue is like that is published to or consumed from and does not
            exist, for brokers that must be told.
        exchange_type: The type of an exchange, as far as the configuration says, for brokers that
            have no exchanges of their own.
        replies: How the results of what is published come back, where they are messages.
    """
    url = access.url
    driver = driver_of(url)
    module = _load(driver, "broker")
    kept = {} if keep_dead is None else {"keep_dead": keep_dead}
    if driver == "memory":
        store = _load("memory", "store").store_of(url)
        broker: Broker = module.MemoryBroker(store, clock=access.clock, lease=lease, **kept)
    elif driver == "sqlite":
        path = database_of(url, access.project)
        broker = module.SQLiteBroker(path, lease=lease, **kept, **access.of_file())
    elif driver == "rabbitmq":
        broker = module.RabbitMQBroker(
            url,
            **access.of_server(),
            **kept,
            **({} if make_queue is None else {"make_queue": make_queue}),
            **({} if replies is None else {"replies": replies.mailbox.queue}),
        )
    else:
        # Celery's default; by itself the driver serves the first queue first.
        in_turn = {"queue_order_strategy": "round_robin", **access.options}
        broker = module.RedisBroker(
            url,
            lease=lease,
            exchange_type=exchange_type,
            **kept,
            **access._replace(options=in_turn).of_server(),
        )
    return broker


def make_fanout(access: Access) -> Fanout:
    """What carries remote control and events beside the tasks of the broker; see
    :func:`make_broker`."""
    driver = driver_of(access.url)
    module = _load(driver, "fanout")
    if driver == "memory":
        store = _load("memory", "store").store_of(access.url)
        fanout: Fanout = module.MemoryFanout(store.topics)
    elif driver == "sqlite":
        path = database_of(access.url, access.project)
        fanout = module.SQLiteFanout(path, **access.of_file())
    else:
        made = {"redis": "RedisFanout", "rabbitmq": "RabbitMQFanout"}[driver]
        fanout = getattr(module, made)(access.url, **access.of_server())
    return fanout


def make_backend(access: Access, *, chord_expires: float = 86_400.0) -> ResultBackend:
    """A result backend client, not opened yet; see :func:`make_broker`.

    Args:
        chord_expires: Seconds that is kept what counts a chord's members; 0: for ever.
    """
    url = access.url
    if url == DISABLED:
        backend: ResultBackend = importlib.import_module(
            "umbel.app.connecting.no_results"
        ).NoResults()
        return backend
    driver = driver_of(url)
    if driver not in _RESULT_DRIVERS:
        message = (
            f"{driver} carries tasks and keeps no results: set result_backend to a URL of Redis or "
            "SQLite, or to 'disabled'."
        )
        raise ImproperlyConfigured(message)
    module = _load(driver, "backend")
    if driver == "memory":
        store = _load("memory", "store").store_of(url)
        backend = module.MemoryBackend(store, clock=access.clock)
    elif driver == "sqlite":
        path = database_of(url, access.project)
        backend = module.SQLiteBackend(path, **access.of_file())
    else:
        backend = module.RedisBackend(url, chord_expires=chord_expires, **access.of_server())
    return backend


def make_schedule_file(path: str, *, clock: Clock) -> ScheduleStore:
    """A file of periodic tasks, for apps whose broker keeps none; not opened yet."""
    store: ScheduleStore = _load("sqlite", "schedules").SQLiteScheduleFile(path, clock=clock)
    return store


def make_legacy_backend(
    make: Callable[[], Any],
    revive: Callable[[Any], Any],
    *,
    clock: Clock,
    counting: ResultBackend | None,
) -> ResultBackend:
    """What serves a result backend made for Celery; see
    :class:`umbel.drivers.legacy.backend.LegacyBackend`."""
    backend: ResultBackend = _load("legacy", "backend").LegacyBackend(
        make, revive=revive, counting=counting, clock=clock
    )
    return backend


def _load(driver: str, role: str) -> Any:
    try:
        return importlib.import_module(f"umbel.drivers.{driver}.{role}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("umbel"):
            raise
        extra = _EXTRA_BY_DRIVER.get(driver, driver)
        message = (
            f"cannot use {driver}: the package {error.name!r} is not installed. "
            f"Install it with: pip install 'umbel[{extra}]'"
        )
        raise ImproperlyConfigured(message) from error
