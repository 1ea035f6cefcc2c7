"""What can be asked of a connection to Redis: kombu's transport options, and those of URLs.

Source:
    Names and meanings as in kombu 5.7 and Celery 5.7 (``broker_transport_options``,
    ``result_backend_transport_options``, queries of URLs).
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from umbel.exceptions import ImproperlyConfigured

__all__ = ["ClientOptions", "check", "client_options", "from_query", "option"]

logger = logging.getLogger(__name__)

_OURS = frozenset(
    {
        *("global_keyprefix", "sep", "priority_steps", "queue_order_strategy"),
        *("unacked_key", "unacked_index_key", "visibility_timeout"),
        *("fanout_prefix", "fanout_patterns"),
        *("socket_timeout", "socket_connect_timeout", "socket_keepalive"),
        *("socket_keepalive_options", "health_check_interval", "client_name", "max_connections"),
        *("ssl", "credential_provider", "host", "port", "db", "virtual_host", "username"),
        *("password", "master_name", "sentinel_kwargs", "min_other_sentinels"),
        "result_chord_ordered",
    }
)
"""What does something."""

_UNNEEDED = frozenset(
    {
        # Commands that do no harm twice are always sent again; others never without the caller.
        *("retry_on_timeout", "retry_policy", "retry_on_error"),
        # Leases are watched all the time, by scripts that need no lock.
        *("ack_emulation", "unacked_mutex_key", "unacked_mutex_expire"),
        *("unacked_restore_limit", "unacked_restore_interval", "unacked_restore_throttle"),
        # Nothing is polled for; credentials are asked for at every connection.
        *("polling_interval", "brpop_timeout", "reauth_check_interval"),
        *("additional_connection_errors", "sentinel_fanout_compat"),
        # Of settings and of brokers that are no Redis.
        *("heartbeat", "login_method", "confirm_publish", "confirm_timeout"),
    }
)
"""What Celery's programs may say, and what we do, or need not do, without being told."""

_FEWEST_CONNECTIONS = 2
_QUERY = frozenset(
    {
        *("socket_timeout", "socket_connect_timeout", "socket_keepalive", "health_check_interval"),
        *("client_name", "max_connections", "credential_provider", "master_name", "username"),
        *("password", "db", "virtual_host"),
    }
)
"""What the query of a URL may say, beside ``ssl_…``."""

_NO = {"false", "0", "no", "n", "off", ""}


class ClientOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a client is, and how it introduces itself."""

    connect_timeout: float = 4.0
    reply_timeout: float = 12.0
    """Seconds for which Redis may owe a reply without a word; then the connection is dropped."""
    max_retries: int | None = 3
    """Further attempts to connect after the first, before a call fails; None: for ever."""
    health_interval: float = 8.0
    """Seconds after which an idle connection is asked whether it still stands; 0: it is not."""
    keepalive: bool = True
    """Whether the operating system looks after idle connections."""
    keepalive_options: Mapping[int, int] = {}
    """Of the socket, as ``TCP_KEEPIDLE``."""
    name: str | None = None
    """As ``CLIENT LIST`` shows it."""
    tracking: bool = False
    """Ask to be told when watched keys change."""


def client_options(
    options: Mapping[str, object],
    *,
    name: str,
    connect_timeout: float,
    max_retries: int | None,
    tracking: bool = False,
) -> ClientOptions:
    """What the options say of a connection.

    Args:
        name: Unless they give one.
        connect_timeout: Seconds, unless they say.
    """
    keepalive = options.get("socket_keepalive")
    keepalive_options = cast("Mapping[int, int] | None", options.get("socket_keepalive_options"))
    return ClientOptions(
        connect_timeout=option(options, "socket_connect_timeout", connect_timeout),
        reply_timeout=option(options, "socket_timeout", ClientOptions().reply_timeout),
        max_retries=max_retries,
        health_interval=option(options, "health_check_interval", ClientOptions().health_interval),
        keepalive=keepalive is None or str(keepalive).lower() not in _NO,
        keepalive_options=keepalive_options or {},
        name=name,
        tracking=tracking,
    )


def option(options: Mapping[str, object], name: str, default: float) -> float:
    """A number among the options; None means the default.

    Raises:
        ImproperlyConfigured: It is no number.
    """
    value = options.get(name)
    if value is None:
        return default
    try:
        return float(cast("Any", value))
    except (TypeError, ValueError):
        raise ImproperlyConfigured(
            f"the transport option {name} is {value!r}; it must be a number"
        ) from None


def check(options: Mapping[str, object]) -> None:
    """Say what cannot be done as asked.

    Raises:
        ImproperlyConfigured: It would change what becomes of tasks.
    """
    most = options.get("max_connections")
    if most is not None and option(options, "max_connections", 0) < _FEWEST_CONNECTIONS:
        raise ImproperlyConfigured(
            f"max_connections is {most!r}; umbel opens one connection to send and one to listen, so"
            f" it must be at least {_FEWEST_CONNECTIONS}"
        )
    if options.get("sentinel_fanout_compat"):
        raise ImproperlyConfigured(
            "sentinel_fanout_compat is for fleets with kombu before 5.4, which umbel does not talk"
            " to; leave it out once nothing older runs"
        )
    for name in sorted(options.keys() - _OURS - _UNNEEDED):
        similar = difflib.get_close_matches(name, _OURS, n=1)
        logger.warning(
            "The transport option %r has no effect on Redis%s.",
            name,
            f"; did you mean {similar[0]!r}?" if similar else "",
        )


def from_query(query: Mapping[str, str]) -> dict[str, object]:
    """What the query of a URL says that transport options may say too."""
    return {name: value for name, value in query.items() if name in _QUERY}
