"""Settings of the broker."""

from __future__ import annotations

from umbel.app.defaults.setting import Setting

__all__ = ["BROKER"]

BROKER = (
    Setting(
        "broker_url",
        "url | None",
        None,
        "The URL of the broker, or several in the order to try; unset: the project's own file.",
        "BROKER_URL",
    ),
    Setting(
        "broker_read_url",
        "url | None",
        None,
        "The broker that workers take tasks from; unset: broker_url.",
        "BROKER_READ_URL",
    ),
    Setting(
        "broker_write_url",
        "url | None",
        None,
        "The broker that tasks are sent to; unset: broker_url.",
        "BROKER_WRITE_URL",
    ),
    Setting(
        "broker_transport",
        "str | None",
        None,
        "The kind of broker, apart from its URL.",
        "BROKER_TRANSPORT",
    ),
    Setting(
        "broker_transport_options",
        "dict",
        {},
        "Options of the kind of broker.",
        "BROKER_TRANSPORT_OPTIONS",
    ),
    Setting(
        "broker_connection_timeout",
        "float | None",
        4,
        "Seconds after which an attempt to connect is given up.",
        "BROKER_CONNECTION_TIMEOUT",
        least=0,
    ),
    Setting(
        "broker_connection_retry",
        "bool",
        True,
        "Whether a worker that loses its connection connects again.",
        "BROKER_CONNECTION_RETRY",
    ),
    Setting(
        "broker_connection_retry_on_startup",
        "bool | None",
        None,
        "Whether a worker waits for a broker that is away when it starts; None: as "
        "broker_connection_retry.",
        "BROKER_CONNECTION_RETRY_ON_STARTUP",
    ),
    Setting(
        "broker_connection_max_retries",
        "int | None",
        100,
        "How often connecting is retried; None or 0: for ever.",
        "BROKER_CONNECTION_MAX_RETRIES",
        least=0,
    ),
    Setting(
        "broker_channel_error_retry",
        "bool",
        False,
        "Whether errors of a channel are retried as those of the connection are.",
        "BROKER_CHANNEL_ERROR_RETRY",
    ),
    Setting(
        "broker_failover_strategy",
        "str | callable | None",
        None,
        "In which order several brokers are tried: 'round-robin', 'shuffle', or a function.",
        "BROKER_FAILOVER_STRATEGY",
    ),
    Setting(
        "broker_heartbeat",
        "float | None",
        120,
        "Seconds between two signs of life of a connection; 0 or None: none.",
        "BROKER_HEARTBEAT",
        least=0,
    ),
    Setting(
        "broker_heartbeat_checkrate",
        "float",
        3.0,
        "How often, per heartbeat, signs of life are looked for.",
        "BROKER_HEARTBEAT_CHECKRATE",
        least=0,
    ),
    Setting(
        "broker_login_method",
        "str | None",
        None,
        "How to log in to an AMQP broker.",
        "BROKER_LOGIN_METHOD",
    ),
    Setting(
        "broker_native_delayed_delivery_queue_type",
        "str",
        "quorum",
        "The RabbitMQ type of the queues that hold delayed messages.",
        "BROKER_NATIVE_DELAYED_DELIVERY_QUEUE_TYPE",
    ),
    Setting(
        "broker_pool_limit",
        "int | None",
        10,
        "The most connections that a process opens to send; 0 or None: one per call.",
        "BROKER_POOL_LIMIT",
        least=0,
    ),
    Setting(
        "broker_pool_acquire_timeout",
        "float | None",
        None,
        "Seconds that sending waits for a free connection.",
        "BROKER_POOL_ACQUIRE_TIMEOUT",
        least=0,
    ),
    Setting(
        "broker_use_ssl",
        "bool | dict | None",
        False,
        "Whether, and with which options, connections are encrypted.",
        "BROKER_USE_SSL",
    ),
    Setting(
        "broker_host", "str | None", None, "The broker's host, apart from its URL.", "BROKER_HOST"
    ),
    Setting(
        "broker_port", "int | None", None, "The broker's port, apart from its URL.", "BROKER_PORT"
    ),
    Setting(
        "broker_user", "str | None", None, "The user, apart from the broker's URL.", "BROKER_USER"
    ),
    Setting(
        "broker_password",
        "str | None",
        None,
        "The password, apart from the broker's URL.",
        "BROKER_PASSWORD",
    ),
    Setting(
        "broker_vhost",
        "str | None",
        None,
        "The virtual host, apart from the broker's URL.",
        "BROKER_VHOST",
    ),
)
