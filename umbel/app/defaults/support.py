"""What this release does not do yet: the one list of settings that have no effect.

Whoever builds a feature deletes its line.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["MISSING", "Missing", "missing"]


class Missing(msgspec.Struct, frozen=True):
    """A feature that is not there, and the settings that ask for it."""

    reason: str
    """Completes: "… has no effect: "."""
    settings: tuple[str, ...]
    refused: bool = False
    """Whether doing without would change what becomes of tasks, so that it is an error; else it
    is a warning."""
    only: tuple[object, ...] = ()
    """The values that ask for the feature; empty: all but the default."""


MISSING: tuple[Missing, ...] = (
    # -- doing without would change what becomes of tasks
    Missing(
        "queues of single workers are not in this release; give every worker a queue with -Q",
        ("worker_direct",),
        refused=True,
    ),
    Missing(
        "components of the worker cannot be replaced in this release",
        ("worker_consumer", "worker_agent", "worker_timer"),
        refused=True,
    ),
    Missing(
        "an address is one URL: set broker_url, for example redis://user:password@host:6379/0",
        (
            "broker_host",
            "broker_port",
            "broker_user",
            "broker_password",
            "broker_vhost",
            "broker_transport",
        ),
        refused=True,
    ),
    Missing(
        "an address is one URL: set result_backend, for example redis://user:password@host:6379/0",
        ("database_url",),
        refused=True,
    ),
    # -- harmless to do without
    Missing(
        "connections are found again without them, and every kind of queue is served alike",
        (
            "broker_channel_error_retry",
            "broker_heartbeat_checkrate",
            "worker_detect_quorum_queues",
        ),
    ),
    Missing(
        "results that are messages go straight to the queue of who waits, as Celery's do",
        ("result_exchange", "result_exchange_type"),
    ),
    Missing(
        "a process needs only one connection to send",
        ("broker_pool_limit", "broker_pool_acquire_timeout"),
    ),
    Missing(
        "commands that do no harm twice are always sent again",
        ("redis_retry_on_timeout",),
    ),
    Missing(
        "a worker never takes more than it has room for, whatever it has lost",
        ("worker_enable_prefetch_count_reduction",),
    ),
    Missing(
        "umbel has no such part",
        (
            "deprecated_settings",
            "task_remote_tracebacks",
            "task_repr_maxlevels",
            "worker_lost_wait",
            "worker_pool_putlocks",
            "worker_timer_precision",
        ),
    ),
    Missing(
        "that result backend is not in this release",
        (
            "arangodb_backend_settings",
            "azureblockblob_base_path",
            "azureblockblob_connection_timeout",
            "azureblockblob_container_name",
            "azureblockblob_read_timeout",
            "azureblockblob_retry_increment_base",
            "azureblockblob_retry_initial_backoff_sec",
            "azureblockblob_retry_max_attempts",
            "cache_backend_options",
            "cassandra_auth_kwargs",
            "cassandra_auth_provider",
            "cassandra_bundle_path",
            "cassandra_entry_ttl",
            "cassandra_keyspace",
            "cassandra_options",
            "cassandra_port",
            "cassandra_read_consistency",
            "cassandra_secure_bundle_path",
            "cassandra_servers",
            "cassandra_table",
            "cassandra_write_consistency",
            "cosmosdbsql_collection_name",
            "cosmosdbsql_consistency_level",
            "cosmosdbsql_database_name",
            "cosmosdbsql_max_retry_attempts",
            "cosmosdbsql_max_retry_wait_time",
            "couchbase_backend_settings",
            "database_create_tables_at_setup",
            "database_engine_callback",
            "database_engine_options",
            "database_short_lived_sessions",
            "database_table_names",
            "database_table_schemas",
            "dynamodb_endpoint_url",
            "elasticsearch_max_retries",
            "elasticsearch_retry_on_timeout",
            "elasticsearch_save_meta_as_text",
            "elasticsearch_timeout",
            "gcs_base_path",
            "gcs_bucket",
            "gcs_project",
            "gcs_threadpool_maxsize",
            "gcs_ttl",
            "mongodb_backend_settings",
            "s3_access_key_id",
            "s3_base_path",
            "s3_bucket",
            "s3_endpoint_url",
            "s3_region",
            "s3_secret_access_key",
        ),
    ),
)

_MISSING_BY_SETTING: dict[str, Missing] = {
    setting: missing for missing in MISSING for setting in missing.settings
}


def missing(setting: str, value: Any, default: Any) -> Missing | None:
    """What is not there, if this value of the setting asks for something that is not.

    >>> missing("worker_direct", True, False).reason
    'queues of single workers are not in this release; give every worker a queue with -Q'
    >>> missing("worker_direct", False, False) is None
    True
    """
    found = _MISSING_BY_SETTING.get(setting)
    if found is None:
        return None
    if found.only:
        return found if value in found.only else None
    # What is off by default stays off as 0, "", {} and False too.
    if value == default or (not default and not value):
        return None
    return found
