"""Every setting, in one table."""

from __future__ import annotations

from umbel.app.defaults import beat, broker, general, results, services, stores, tasks, worker
from umbel.app.defaults.setting import Setting

__all__ = ["NAME_BY_OLD_NAME", "SECTIONS", "SETTINGS"]

SECTIONS: dict[str, tuple[Setting, ...]] = {
    "General": general.GENERAL,
    "Tasks: running": tasks.EXECUTION,
    "Tasks: sending": tasks.SENDING,
    "Tasks: routing": tasks.ROUTING,
    "Results": results.RESULTS,
    "Broker": broker.BROKER,
    "Worker": worker.WORKER,
    "Worker: logging": worker.LOGGING,
    "Periodic tasks": beat.BEAT,
    "Remote control": general.CONTROL,
    "Events": general.EVENTS,
    "Security": general.SECURITY,
    "Redis": stores.REDIS,
    "SQL databases": stores.DATABASE,
    "Document databases": stores.DOCUMENTS,
    "Elasticsearch": stores.ELASTICSEARCH,
    "Caches": stores.CACHE,
    "Cassandra": stores.CASSANDRA,
    "Azure Block Blob": services.AZURE,
    "CosmosDB": services.COSMOSDB,
    "Google Cloud Storage": services.GCS,
    "S3": services.S3,
}
"""The settings by the headings they are documented under."""

SETTINGS: dict[str, Setting] = {
    setting.name: setting for section in SECTIONS.values() for setting in section
}
"""The settings by name."""

NAME_BY_OLD_NAME: dict[str, str] = {
    setting.old: setting.name for setting in SETTINGS.values() if setting.old is not None
}
"""What the upper-case names of before Celery 4 are called now."""
