"""Settings of the scheduler of periodic tasks."""

from __future__ import annotations

from umbel.app.defaults.setting import Setting

__all__ = ["BEAT"]

BEAT = (
    Setting(
        "beat_schedule",
        "dict",
        {},
        "Periodic tasks by the name of their entry.",
        "CELERYBEAT_SCHEDULE",
    ),
    Setting(
        "beat_scheduler",
        "str | class",
        "celery.beat:PersistentScheduler",
        "The class that decides which entries are due.",
        "CELERYBEAT_SCHEDULER",
    ),
    Setting(
        "beat_schedule_filename",
        "str",
        "celerybeat-schedule",
        "The file that remembers when entries last ran.",
        "CELERYBEAT_SCHEDULE_FILENAME",
    ),
    Setting(
        "beat_schedule_store",
        "str | None",
        None,
        "Where periodic tasks are kept: a URL of Redis or SQLite; None: in the broker, where that "
        "is Redis, SQLite or memory, else in beat_schedule_filename.",
        own=True,
    ),
    Setting(
        "beat_sync_every",
        "int",
        0,
        "How many tasks are sent between two writes of that file; 0: written by time only.",
        "CELERYBEAT_SYNC_EVERY",
        least=0,
    ),
    Setting(
        "beat_max_loop_interval",
        "float",
        0,
        "The most seconds between two looks at the schedule; 0: as the scheduler likes.",
        "CELERYBEAT_MAX_LOOP_INTERVAL",
        least=0,
    ),
    Setting(
        "beat_cron_starting_deadline",
        "int | None",
        None,
        "Seconds by which a missed crontab entry may be late and still run; None: any.",
        "CELERYBEAT_CRON_STARTING_DEADLINE",
        least=0,
    ),
    Setting(
        "beat_enable_remote_control",
        "bool",
        False,
        "Whether the scheduler listens to remote control commands.",
        "CELERYBEAT_ENABLE_REMOTE_CONTROL",
    ),
    Setting(
        "beat_remote_control_max_tick_age",
        "float | None",
        None,
        "Seconds since the last look at the schedule after which a scheduler counts as stuck; "
        "None: twice its loop interval.",
        "CELERYBEAT_REMOTE_CONTROL_MAX_TICK_AGE",
        least=0,
    ),
    Setting("beat_logfile", "str | None", None, "The log file of 'umbel beat'."),
    Setting("beat_pidfile", "str | None", None, "The process id file of 'umbel beat'."),
    Setting("beat_uid", "str | int | None", None, "The user that 'umbel beat' becomes."),
    Setting("beat_gid", "str | int | None", None, "The group that 'umbel beat' becomes."),
    Setting("beat_umask", "str | int | None", None, "The file mode mask of 'umbel beat'."),
    Setting("beat_executable", "str | None", None, "The interpreter that 'umbel beat' runs with."),
)
