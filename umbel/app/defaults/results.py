"""Settings of results."""

from __future__ import annotations

from datetime import timedelta

from umbel.app.defaults.setting import Setting

__all__ = ["RESULTS"]

RESULTS = (
    Setting(
        "result_backend",
        "str | None",
        None,
        "The URL of the place where results are kept; unset: the broker, where it can.",
        "CELERY_RESULT_BACKEND",
    ),
    Setting(
        "result_backend_transport_options",
        "dict",
        {},
        "Options for the connection to the result backend.",
        "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS",
    ),
    Setting(
        "result_backend_always_retry",
        "bool",
        False,
        "Whether looking at a result is tried again, too, while the backend is away; storing one "
        "always is.",
        "CELERY_RESULT_BACKEND_ALWAYS_RETRY",
    ),
    Setting(
        "result_backend_max_retries",
        "float",
        float("inf"),
        "How often storing a result, or looking at it, is retried.",
        "CELERY_RESULT_BACKEND_MAX_RETRIES",
        least=0,
    ),
    Setting(
        "result_backend_base_sleep_between_retries_ms",
        "int",
        10,
        "Milliseconds before the first retry of storing a result.",
        "CELERY_RESULT_BACKEND_BASE_SLEEP_BETWEEN_RETRIES_MS",
        least=0,
    ),
    Setting(
        "result_backend_max_sleep_between_retries_ms",
        "int",
        10000,
        "The most milliseconds between two retries of storing a result.",
        "CELERY_RESULT_BACKEND_MAX_SLEEP_BETWEEN_RETRIES_MS",
        least=0,
    ),
    Setting(
        "result_buffer_max",
        "int",
        10_000,
        "How many finished tasks a worker keeps for a result backend that is away, before it takes "
        "no more.",
        least=1,
        own=True,
    ),
    Setting(
        "result_backend_thread_safe",
        "bool",
        False,
        "Whether threads share one backend object.",
    ),
    Setting(
        "override_backends",
        "dict | None",
        None,
        "Import paths of result backend classes by the name that URLs use.",
    ),
    Setting(
        "result_serializer",
        "str",
        "json",
        "The serializer that results are written with.",
        "CELERY_RESULT_SERIALIZER",
    ),
    Setting(
        "result_compression",
        "str | None",
        None,
        "How results are compressed, as task_compression.",
        "CELERY_RESULT_COMPRESSION",
    ),
    Setting(
        "result_extended",
        "bool",
        False,
        "Whether results are kept with the task's name, arguments, worker, retries and queue.",
        "CELERY_RESULT_EXTENDED",
    ),
    Setting(
        "result_expires",
        "float | timedelta | None",
        timedelta(days=1),
        "Seconds, or a timedelta, that results are kept; None or 0: for ever.",
        "CELERY_TASK_RESULT_EXPIRES",
        least=0,
    ),
    Setting(
        "result_failure_expires",
        "float | timedelta | None",
        None,
        "Likewise for failures; None: as result_expires.",
        "CELERY_RESULT_FAILURE_EXPIRES",
        least=0,
    ),
    Setting(
        "result_chord_expires",
        "float | timedelta | None",
        None,
        "Likewise for counts of unfinished chords, on Redis; None: as result_expires.",
        "CELERY_RESULT_CHORD_EXPIRES",
        least=0,
    ),
    Setting(
        "result_chord_join_timeout",
        "float",
        3.0,
        "Seconds that collecting the results of a chord's header may take where a chord of a Celery"
        " client has to be polled; after that, it is looked at again later.",
        "CELERY_RESULT_CHORD_JOIN_TIMEOUT",
        least=0,
    ),
    Setting(
        "result_chord_retry_interval",
        "float",
        1.0,
        "Seconds between two looks at a chord of a Celery client that has to be polled.",
        "CELERY_RESULT_CHORD_RETRY_INTERVAL",
        least=0,
    ),
    Setting(
        "result_cache_max",
        "int | None",
        -1,
        "How many results a client remembers; -1: none, 0 or None: all.",
        "CELERY_MAX_CACHED_RESULTS",
        least=-1,
    ),
    Setting(
        "result_exchange",
        "str",
        "celeryresults",
        "The exchange of results that are sent as messages.",
        "CELERY_RESULT_EXCHANGE",
    ),
    Setting(
        "result_exchange_type",
        "str",
        "direct",
        "The type of that exchange.",
        "CELERY_RESULT_EXCHANGE_TYPE",
    ),
    Setting(
        "result_persistent",
        "bool | None",
        None,
        "Whether results that are sent as messages outlive a restart of the broker.",
        "CELERY_RESULT_PERSISTENT",
    ),
)
