"""Settings of result backends in rented storage."""

from __future__ import annotations

from umbel.app.defaults.setting import Setting

__all__ = ["AZURE", "COSMOSDB", "GCS", "S3"]

S3 = (
    Setting("s3_access_key_id", "str | None", None, "The access key.", "S3_ACCESS_KEY_ID"),
    Setting("s3_secret_access_key", "str | None", None, "The secret key.", "S3_SECRET_ACCESS_KEY"),
    Setting("s3_bucket", "str | None", None, "The bucket that holds results.", "S3_BUCKET"),
    Setting("s3_base_path", "str | None", None, "How the keys of results begin.", "S3_BASE_PATH"),
    Setting(
        "s3_endpoint_url",
        "str | None",
        None,
        "The service, if it is not Amazon's.",
        "S3_ENDPOINT_URL",
    ),
    Setting("s3_region", "str | None", None, "The region.", "S3_REGION"),
)

AZURE = (
    Setting(
        "azureblockblob_container_name",
        "str",
        "celery",
        "The container that holds results.",
        "AZUREBLOCKBLOB_CONTAINER_NAME",
    ),
    Setting(
        "azureblockblob_base_path",
        "str",
        "",
        "How the names of results begin.",
        "AZUREBLOCKBLOB_BASE_PATH",
    ),
    Setting(
        "azureblockblob_retry_initial_backoff_sec",
        "int",
        2,
        "Seconds before the first retry.",
        "AZUREBLOCKBLOB_RETRY_INITIAL_BACKOFF_SEC",
    ),
    Setting(
        "azureblockblob_retry_increment_base",
        "int",
        2,
        "By which number of seconds the wait grows.",
        "AZUREBLOCKBLOB_RETRY_INCREMENT_BASE",
    ),
    Setting(
        "azureblockblob_retry_max_attempts",
        "int",
        3,
        "How often a request is retried.",
        "AZUREBLOCKBLOB_RETRY_MAX_ATTEMPTS",
    ),
    Setting(
        "azureblockblob_connection_timeout",
        "int",
        20,
        "Seconds that connecting may take.",
        "AZUREBLOCKBLOB_CONNECTION_TIMEOUT",
    ),
    Setting(
        "azureblockblob_read_timeout",
        "int",
        120,
        "Seconds that an answer may take.",
        "AZUREBLOCKBLOB_READ_TIMEOUT",
    ),
)

GCS = (
    Setting("gcs_bucket", "str | None", None, "The bucket that holds results.", "GCS_BUCKET"),
    Setting("gcs_project", "str | None", None, "The project.", "GCS_PROJECT"),
    Setting("gcs_base_path", "str", "", "How the names of results begin.", "GCS_BASE_PATH"),
    Setting("gcs_ttl", "float", 0, "Seconds that results are kept; 0: for ever.", "GCS_TTL"),
    Setting("gcs_threadpool_maxsize", "int", 10, "How many requests run at once."),
)

COSMOSDB = (
    Setting(
        "cosmosdbsql_database_name",
        "str",
        "celerydb",
        "The database that holds results.",
        "COSMOSDBSQL_DATABASE_NAME",
    ),
    Setting(
        "cosmosdbsql_collection_name",
        "str",
        "celerycol",
        "The collection that holds results.",
        "COSMOSDBSQL_COLLECTION_NAME",
    ),
    Setting(
        "cosmosdbsql_consistency_level",
        "str",
        "Session",
        "The consistency of reads.",
        "COSMOSDBSQL_CONSISTENCY_LEVEL",
    ),
    Setting(
        "cosmosdbsql_max_retry_attempts",
        "int",
        9,
        "How often a request is retried.",
        "COSMOSDBSQL_MAX_RETRY_ATTEMPTS",
    ),
    Setting(
        "cosmosdbsql_max_retry_wait_time",
        "int",
        30,
        "The most seconds that retries take.",
        "COSMOSDBSQL_MAX_RETRY_WAIT_TIME",
    ),
)
