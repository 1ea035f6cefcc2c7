"""What the settings say about connections, in the words of the drivers.

Source:
    Celery reference, "Configuration and defaults": ``broker_transport_options``,
    ``result_backend_transport_options`` and the settings of Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.app.configuring.settings import Settings

__all__ = ["backend_options", "broker_options", "connect_timeout", "options_for_results"]

_CONNECT_TIMEOUT = 4.0

_REDIS_SETTING_BY_OPTION = {
    "ssl": "redis_backend_use_ssl",
    "credential_provider": "redis_backend_credential_provider",
    "health_check_interval": "redis_backend_health_check_interval",
    "client_name": "redis_client_name",
    "max_connections": "redis_max_connections",
    "socket_timeout": "redis_socket_timeout",
    "socket_connect_timeout": "redis_socket_connect_timeout",
    "socket_keepalive": "redis_socket_keepalive",
    "host": "redis_host",
    "port": "redis_port",
    "db": "redis_db",
    "username": "redis_username",
    "password": "redis_password",
}
"""Settings that say of the result backend what transport options may say too."""


def connect_timeout(conf: Settings) -> float:
    """Seconds that making a connection to the broker may take."""
    return conf.broker_connection_timeout or _CONNECT_TIMEOUT


def broker_options(conf: Settings) -> dict[str, Any]:
    """``broker_transport_options``, and the settings that say the same by another name."""
    options: dict[str, Any] = {}
    if conf.is_set("broker_heartbeat"):
        options["heartbeat"] = conf.broker_heartbeat or 0
    if conf.is_set("broker_native_delayed_delivery_queue_type"):
        kind = conf.broker_native_delayed_delivery_queue_type
        options["native_delayed_delivery_queue_type"] = kind
    if conf.is_set("broker_failover_strategy"):
        options["failover_strategy"] = conf.broker_failover_strategy
    if conf.broker_login_method:
        options["login_method"] = conf.broker_login_method
    if conf.broker_use_ssl:
        options["ssl"] = conf.broker_use_ssl
    return {**options, **(conf.broker_transport_options or {})}


def options_for_results(conf: Settings) -> dict[str, Any]:
    """:func:`broker_options`, for results that are kept by the broker: how to get in there."""
    options = broker_options(conf)
    # Where the broker's keys are is its own affair.
    options.pop("global_keyprefix", None)
    return options


def backend_options(conf: Settings) -> dict[str, Any]:
    """``result_backend_transport_options``, and the settings that say the same by another name;
    where the broker keeps the results, how to get in there."""
    options = {} if conf.is_set("result_backend") else options_for_results(conf)
    for name, setting in _REDIS_SETTING_BY_OPTION.items():
        value = getattr(conf, setting)
        if conf.is_set(setting) and value is not None:
            options[name] = value
    return {**options, **(conf.result_backend_transport_options or {})}
