"""Log lines for programs: each a JSON object.

Source:
    RFC 8259; the attributes of log records in Python's library reference, ``logging``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from umbel.serialization.shapes import is_dict
from umbel.utils.saferepr import saferepr

__all__ = ["JsonFormatter"]

_OUTSIDE = "???"
"""What records say of the task when none runs."""
_NAMES_BY_FIELD = {"task_id": "id", "task_name": "name"}
"""Where the lines that workers write of tasks have their fields."""
_OWN = frozenset(
    {
        *logging.makeLogRecord({}).__dict__,
        "message",
        "asctime",
        "taskName",
        "data",
        *_NAMES_BY_FIELD,
    }
)
"""Attributes of records that are no ``extra`` ones."""


class JsonFormatter(logging.Formatter):
    """One JSON object in one line, whatever a record holds.

    Always there: ``timestamp`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, ``process``
    (its name) and ``pid``. Where they mean something: ``task_id`` and ``task_name``;
    ``exception`` (its ``repr``), ``exception_type`` and ``traceback``; ``stack``. What is given
    as ``extra`` comes under its own name, and what workers say of a task (its arguments, its run
    time) as ``data``. Values that are no JSON are shown by their ``repr``.

    Works in any handler, of any program:

    >>> record = logging.makeLogRecord({"name": "shop", "levelname": "INFO", "msg": "hello"})
    >>> json.loads(JsonFormatter().format(record))["message"]
    'hello'
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields: dict[str, Any] = {
            "timestamp": self._moment(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.processName,
            "pid": record.process,
            **_task_of(record),
            **self._failure_of(record),
        }
        for name, value in record.__dict__.items():
            if name not in _OWN and name not in fields:
                fields[name] = value
        data = record.__dict__.get("data")
        if data is not None:
            fields["data"] = data
        line = ", ".join(f"{json.dumps(name)}: {_written(value)}" for name, value in fields.items())
        # Half a character cannot be written to a file; as an escape it is JSON all the same.
        return f"{{{line}}}".encode("utf-8", "backslashreplace").decode()

    def _moment(self, record: logging.LogRecord) -> str:
        if self.datefmt is not None:
            return self.formatTime(record, self.datefmt)
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")

    def _failure_of(self, record: logging.LogRecord) -> dict[str, str]:
        found: dict[str, str] = {}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            found["exception"] = saferepr(error)
            found["exception_type"] = f"{type(error).__module__}.{type(error).__qualname__}"
            found["traceback"] = self.formatException(record.exc_info)
        elif record.exc_text:
            found["traceback"] = record.exc_text
        if record.stack_info:
            found["stack"] = record.stack_info
        return found


def _task_of(record: logging.LogRecord) -> dict[str, object]:
    """The task that writes the line, or that the line is about."""
    data = record.__dict__.get("data")
    about: Mapping[Any, Any] = data if is_dict(data) else {}
    found: dict[str, object] = {}
    for field, name in _NAMES_BY_FIELD.items():
        value = record.__dict__.get(field)
        if value is None or value == _OUTSIDE:
            value = about.get(name)
        if value is not None:
            found[field] = value
    return found


def _written(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=saferepr)
    except (TypeError, ValueError, RecursionError):
        # Keys that are no text, numbers that JSON has not, what contains itself.
        return json.dumps(saferepr(value), ensure_ascii=False)
