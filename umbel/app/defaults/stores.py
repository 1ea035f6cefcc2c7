"""Settings of result backends in databases that one runs oneself."""

from __future__ import annotations

from umbel.app.defaults.setting import Setting

__all__ = ["CACHE", "CASSANDRA", "DATABASE", "DOCUMENTS", "ELASTICSEARCH", "REDIS"]

CACHE = (
    Setting(
        "cache_backend",
        "str | None",
        None,
        "The cache that keeps results, as a URL.",
        "CELERY_CACHE_BACKEND",
    ),
    Setting(
        "cache_backend_options",
        "dict",
        {},
        "Options for the cache.",
        "CELERY_CACHE_BACKEND_OPTIONS",
    ),
)

CASSANDRA = (
    Setting("cassandra_servers", "list | None", None, "Hosts of the cluster.", "CASSANDRA_SERVERS"),
    Setting("cassandra_port", "int | str | None", None, "The port of its hosts.", "CASSANDRA_PORT"),
    Setting(
        "cassandra_keyspace",
        "str | None",
        None,
        "The keyspace that holds results.",
        "CASSANDRA_KEYSPACE",
    ),
    Setting(
        "cassandra_table", "str | None", None, "The table that holds results.", "CASSANDRA_TABLE"
    ),
    Setting(
        "cassandra_read_consistency",
        "str | None",
        None,
        "How many replicas must answer a read.",
        "CASSANDRA_READ_CONSISTENCY",
    ),
    Setting(
        "cassandra_write_consistency",
        "str | None",
        None,
        "How many replicas must confirm a write.",
        "CASSANDRA_WRITE_CONSISTENCY",
    ),
    Setting(
        "cassandra_entry_ttl",
        "float | None",
        None,
        "Seconds that results are kept.",
        "CASSANDRA_ENTRY_TTL",
    ),
    Setting(
        "cassandra_auth_provider",
        "str | None",
        None,
        "The class that logs in.",
        "CASSANDRA_AUTH_PROVIDER",
    ),
    Setting(
        "cassandra_auth_kwargs",
        "dict | str | None",
        None,
        "Arguments of that class.",
        "CASSANDRA_AUTH_KWARGS",
    ),
    Setting("cassandra_options", "dict", {}, "Options for the cluster.", "CASSANDRA_OPTIONS"),
    Setting(
        "cassandra_bundle_path",
        "str | None",
        None,
        "Kept for compatibility: the name is cassandra_secure_bundle_path.",
        "CASSANDRA_BUNDLE_PATH",
    ),
    Setting(
        "cassandra_secure_bundle_path",
        "str | None",
        None,
        "The file with the credentials of a hosted cluster.",
    ),
)

DOCUMENTS = (
    Setting(
        "couchbase_backend_settings",
        "dict | None",
        None,
        "Host, bucket and credentials of Couchbase.",
        "CELERY_COUCHBASE_BACKEND_SETTINGS",
    ),
    Setting(
        "arangodb_backend_settings",
        "dict | None",
        None,
        "Host, collection and credentials of ArangoDB.",
        "CELERY_ARANGODB_BACKEND_SETTINGS",
    ),
    Setting(
        "mongodb_backend_settings",
        "dict | None",
        None,
        "Database and collection of MongoDB.",
        "CELERY_MONGODB_BACKEND_SETTINGS",
    ),
    Setting(
        "dynamodb_endpoint_url", "str | None", None, "The DynamoDB service, if it is not Amazon's."
    ),
)

ELASTICSEARCH = (
    Setting(
        "elasticsearch_retry_on_timeout",
        "bool | None",
        None,
        "Whether a request that takes too long is sent to another node.",
        "CELERY_ELASTICSEARCH_RETRY_ON_TIMEOUT",
    ),
    Setting(
        "elasticsearch_max_retries",
        "int | None",
        None,
        "How often a request is retried.",
        "CELERY_ELASTICSEARCH_MAX_RETRIES",
    ),
    Setting(
        "elasticsearch_timeout",
        "float | None",
        None,
        "Seconds that a request may take.",
        "CELERY_ELASTICSEARCH_TIMEOUT",
    ),
    Setting(
        "elasticsearch_save_meta_as_text",
        "bool",
        True,
        "Whether results are stored as text instead of as fields.",
        "CELERY_ELASTICSEARCH_SAVE_META_AS_TEXT",
    ),
)

REDIS = (
    Setting(
        "redis_backend_use_ssl",
        "dict | bool | None",
        None,
        "The options of an encrypted connection.",
        "CELERY_REDIS_BACKEND_USE_SSL",
    ),
    Setting(
        "redis_backend_health_check_interval",
        "float | None",
        None,
        "Seconds after which an idle connection is checked before use.",
    ),
    Setting(
        "redis_backend_credential_provider", "any", None, "What gives user names and passwords."
    ),
    Setting("redis_client_name", "str | None", None, "The name that connections give themselves."),
    Setting(
        "redis_max_connections",
        "int | None",
        None,
        "The most connections.",
        "CELERY_REDIS_MAX_CONNECTIONS",
    ),
    Setting(
        "redis_socket_timeout",
        "float | None",
        120.0,
        "Seconds that an answer may take.",
        "CELERY_REDIS_SOCKET_TIMEOUT",
    ),
    Setting(
        "redis_socket_connect_timeout",
        "float | None",
        None,
        "Seconds that connecting may take.",
        "CELERY_REDIS_SOCKET_CONNECT_TIMEOUT",
    ),
    Setting(
        "redis_socket_keepalive",
        "bool",
        False,
        "Whether the operating system keeps idle connections open.",
        "CELERY_REDIS_SOCKET_KEEPALIVE",
    ),
    Setting(
        "redis_retry_on_timeout",
        "bool",
        False,
        "Whether a command that takes too long is sent again.",
        "CELERY_REDIS_RETRY_ON_TIMEOUT",
    ),
    Setting("redis_host", "str | None", None, "The host, apart from the URL.", "CELERY_REDIS_HOST"),
    Setting("redis_port", "int | None", None, "The port, apart from the URL.", "CELERY_REDIS_PORT"),
    Setting(
        "redis_db",
        "int | str | None",
        None,
        "The database number, apart from the URL.",
        "CELERY_REDIS_DB",
    ),
    Setting(
        "redis_username",
        "str | None",
        None,
        "The user, apart from the URL.",
        "CELERY_REDIS_USERNAME",
    ),
    Setting(
        "redis_password",
        "str | None",
        None,
        "The password, apart from the URL.",
        "CELERY_REDIS_PASSWORD",
    ),
)

DATABASE = (
    Setting(
        "database_url",
        "str | None",
        None,
        "The database, apart from result_backend.",
        "CELERY_RESULT_DBURI",
    ),
    Setting(
        "database_engine_options",
        "dict",
        {"pool_pre_ping": True, "pool_recycle": 3600},
        "Options for the SQLAlchemy engine.",
        "CELERY_RESULT_ENGINE_OPTIONS",
    ),
    Setting(
        "database_engine_callback",
        "any",
        None,
        "A function that is given the engine.",
        "DATABASE_ENGINE_CALLBACK",
    ),
    Setting(
        "database_short_lived_sessions",
        "bool",
        False,
        "Whether every result is stored over a session of its own.",
        "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS",
    ),
    Setting(
        "database_table_schemas",
        "dict | None",
        None,
        "The schemas of the tables.",
        "DATABASE_TABLE_SCHEMAS",
    ),
    Setting(
        "database_table_names",
        "dict | None",
        None,
        "The names of the tables.",
        "CELERY_RESULT_DB_TABLENAMES",
    ),
    Setting(
        "database_create_tables_at_setup",
        "bool",
        True,
        "Whether the tables are made at the start.",
        "DATABASE_CREATE_TABLES_AT_SETUP",
    ),
)
