"""Settings of the app as a whole: content, imports, time, security, control, events."""

from __future__ import annotations

from umbel.app.defaults.setting import Setting

__all__ = ["CONTROL", "EVENTS", "GENERAL", "SECURITY"]

GENERAL = (
    Setting(
        "accept_content",
        "list",
        ("json",),
        "Serializers, by name or content type, that messages and results may be written in.",
        "CELERY_ACCEPT_CONTENT",
    ),
    Setting(
        "result_accept_content",
        "list | None",
        None,
        "Serializers that results may be written in; None: those of accept_content.",
        "RESULT_ACCEPT_CONTENT",
    ),
    Setting(
        "enable_utc",
        "bool",
        True,
        "Whether moments in messages are in UTC instead of local time.",
        "ENABLE_UTC",
    ),
    Setting(
        "timezone",
        "str | timezone | None",
        None,
        "The time zone of moments that name none, for example 'Europe/Paris'; None: UTC.",
        "CELERY_TIMEZONE",
    ),
    Setting(
        "imports",
        "list | None",
        (),
        "Modules that a worker imports when it starts.",
        "CELERY_IMPORTS",
    ),
    Setting(
        "include",
        "list | None",
        (),
        "More modules that a worker imports when it starts, after those of imports.",
        "CELERY_INCLUDE",
    ),
    Setting(
        "deprecated_settings",
        "any",
        None,
        "Kept for compatibility: nothing reads it.",
    ),
)

SECURITY = (
    Setting(
        "security_key",
        "str | None",
        None,
        "The file with the private key that signs messages.",
        "CELERY_SECURITY_KEY",
    ),
    Setting(
        "security_key_password",
        "bytes | str | None",
        None,
        "The password of the private key.",
        "CELERY_SECURITY_KEY_PASSWORD",
    ),
    Setting(
        "security_certificate",
        "str | None",
        None,
        "The file with the certificate that belongs to the private key.",
        "CELERY_SECURITY_CERTIFICATE",
    ),
    Setting(
        "security_cert_store",
        "str | None",
        None,
        "Where the certificates lie whose signatures are trusted; may hold wildcards.",
        "CELERY_SECURITY_CERT_STORE",
    ),
    Setting(
        "security_digest",
        "str",
        "sha256",
        "The hash function of signatures.",
        "CELERY_SECURITY_DIGEST",
    ),
)

CONTROL = (
    Setting(
        "control_queue_ttl",
        "float | None",
        300.0,
        "Seconds that a remote control command waits for a worker before it is dropped.",
        "CONTROL_QUEUE_TTL",
    ),
    Setting(
        "control_queue_expires",
        "float | None",
        10.0,
        "Seconds after which an unused remote control queue is deleted.",
        "CONTROL_QUEUE_EXPIRES",
    ),
    Setting(
        "control_queue_exclusive",
        "bool",
        True,
        "Whether remote control queues belong to one connection.",
        "CONTROL_QUEUE_EXCLUSIVE",
    ),
    Setting(
        "control_queue_durable",
        "bool",
        False,
        "Whether remote control queues outlive a restart of the broker.",
        "CONTROL_QUEUE_DURABLE",
    ),
    Setting(
        "control_exchange",
        "str",
        "celery",
        "The exchange of remote control commands.",
        "CONTROL_EXCHANGE",
    ),
)

EVENTS = (
    Setting(
        "event_queue_expires",
        "float | None",
        60.0,
        "Seconds after which the queue of an event listener that is gone is deleted.",
        "CELERY_EVENT_QUEUE_EXPIRES",
    ),
    Setting(
        "event_queue_ttl",
        "float | None",
        5.0,
        "Seconds that an event waits for its listener before it is dropped.",
        "CELERY_EVENT_QUEUE_TTL",
    ),
    Setting(
        "event_queue_prefix",
        "str",
        "celeryev",
        "How the names of event queues begin.",
        "CELERY_EVENT_QUEUE_PREFIX",
    ),
    Setting(
        "event_queue_exclusive",
        "bool",
        True,
        "Whether event queues belong to one connection.",
        "CELERY_EVENT_QUEUE_EXCLUSIVE",
    ),
    Setting(
        "event_queue_durable",
        "bool",
        False,
        "Whether event queues outlive a restart of the broker.",
        "CELERY_EVENT_QUEUE_DURABLE",
    ),
    Setting(
        "event_serializer",
        "str",
        "json",
        "The serializer that events are written with.",
        "CELERY_EVENT_SERIALIZER",
    ),
    Setting(
        "event_exchange",
        "str",
        "celeryev",
        "The exchange of events.",
        "CELERY_EVENT_EXCHANGE",
    ),
    Setting("events_logfile", "str | None", None, "The log file of 'umbel events'."),
    Setting("events_pidfile", "str | None", None, "The process id file of 'umbel events'."),
    Setting("events_uid", "str | int | None", None, "The user that 'umbel events' becomes."),
    Setting("events_gid", "str | int | None", None, "The group that 'umbel events' becomes."),
    Setting("events_umask", "str | int | None", None, "The file mode mask of 'umbel events'."),
    Setting(
        "events_executable", "str | None", None, "The interpreter that 'umbel events' runs with."
    ),
)
