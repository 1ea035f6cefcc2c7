"""Log lines for programs."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from umbel.app.json_lines import JsonFormatter


@pytest.fixture
def line() -> Iterator[Any]:
    """Log something, and read the one line that comes of it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("shop.json_lines")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(handler)

    def read(message: str, *args: object, level: int = logging.INFO, **named: Any) -> Any:
        logger.log(level, message, *args, **named)
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        [found] = text.splitlines()
        text.encode()

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is no JSON")

        return json.loads(found, parse_constant=refuse)

    yield read
    logger.removeHandler(handler)


def test_every_line_says_when_who_and_what(line: Any) -> None:
    before = datetime.now(UTC)
    found = line("two\nlines, %s", "ü", level=logging.WARNING)
    assert before <= datetime.fromisoformat(found.pop("timestamp")) <= datetime.now(UTC)
    assert isinstance(found.pop("pid"), int)
    assert found == {
        "level": "WARNING",
        "logger": "shop.json_lines",
        "message": "two\nlines, ü",
        "process": "MainProcess",
    }


def test_an_exception_is_fields_and_no_more_lines(line: Any) -> None:
    try:
        raise ValueError('a "bad"\nvalue')
    except ValueError:
        found = line("it failed", exc_info=True, stack_info=True)
    assert found["exception"] == repr(ValueError('a "bad"\nvalue'))
    assert found["exception_type"] == "builtins.ValueError"
    assert found["traceback"].startswith("Traceback (most recent call last):\n")
    assert "Stack (most recent call last):" in found["stack"]


def test_what_workers_say_of_a_task_carries_its_id_and_name(line: Any) -> None:
    data = {"id": "a-1", "name": "shop.add", "runtime": 0.5}
    found = line("Task %(name)s[%(id)s] succeeded", data, extra={"data": data})
    assert (found["task_id"], found["task_name"]) == ("a-1", "shop.add")
    assert found["data"] == data


def test_outside_of_tasks_there_is_no_task(line: Any) -> None:
    found = line("outside", extra={"task_id": "???", "task_name": "???"})
    assert not found.keys() & {"task_id", "task_name"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "nan"),
        ([1, float("inf")], "[1, inf]"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        ("half \udc80", "half \udc80"),
        (b"bytes", "b'bytes'"),
        ({"in": {1}}, {"in": "{1}"}),
        ("\u2028", "\u2028"),
    ],
    ids=repr,
)
def test_what_is_no_json_is_shown(line: Any, value: object, shown: object) -> None:
    if value == "\u2028":
        # str.splitlines takes it for the end of a line; programs that read lines do not.
        record = logging.makeLogRecord({"own": value})
        assert json.loads(JsonFormatter().format(record))["own"] == shown
        return
    assert line("extra", extra={"own": value})["own"] == shown


def test_what_contains_itself_is_shown(line: Any) -> None:
    loop: list[object] = []
    loop.append(loop)
    assert line("extra", extra={"own": loop})["own"].startswith("[<Recursion on list")


def test_moments_may_have_another_form() -> None:
    record = logging.makeLogRecord({"created": 0.0})
    year = json.loads(JsonFormatter(datefmt="%Y").format(record))["timestamp"]
    assert year in {"1970", "1969"}
