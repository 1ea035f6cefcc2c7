"""When periodic tasks are due: intervals, crontabs, the sun.

Pure rules: they read no clock but the one they are given, and send nothing.
"""

from umbel.schedules.base import BaseSchedule, maybe_schedule, schedstate, schedule
from umbel.schedules.crontab import crontab
from umbel.schedules.crontab_parser import ParseException, crontab_parser
from umbel.schedules.moment import once
from umbel.schedules.solar import solar

__all__ = [
    "BaseSchedule",
    "ParseException",
    "crontab",
    "crontab_parser",
    "maybe_schedule",
    "once",
    "schedstate",
    "schedule",
    "solar",
]
