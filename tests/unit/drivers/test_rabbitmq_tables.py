"""Headers between JSON and AMQP's tables: what goes in comes out, whoever's it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from umbel import Umbel
from umbel.drivers.rabbitmq import tables
from umbel.wire import tasks

ID = "0b7d7e1c-52a4-4c3b-9d8e-0123456789ab"


def headers_of(args: tuple[Any, ...] = (), kwargs: Any = None, **options: Any) -> bytes:
    app = Umbel("tables", broker="memory://", set_as_current=False)

    @app.task(name="add", typing=False)
    def add() -> None:
        """Do nothing."""

    [call] = add.calls_of(args, kwargs or {}, options)
    return tasks.encode(call).headers


@pytest.mark.parametrize(
    "headers",
    [
        headers_of((1, 2)),
        headers_of(('ä"\\\x01\U0001f600',), {"日本": None}),
        headers_of((b"\x0akwargsreprS", "\x02idS"), task_id=ID),
        headers_of((1,), task_id="no uuid"),
        headers_of((1,), task_id='"' * 36),
        headers_of((1,), root_id=ID, parent_id=ID, group_id=ID, group_index=3, retries=7),
        headers_of((1,), group_id="short", group_index=70_000, retries=2),
        headers_of((1,), countdown=60, expires=90),
        headers_of((1,), headers={"own": [1, {"deep": 2.5}]}),
        headers_of(("x" * 5000,)),
    ],
)
def test_a_tables_headers_are_those_it_was_made_of(headers: bytes) -> None:
    read, id_ = tables.decode(tables.encode(headers)[4:])

    assert json.loads(read) == json.loads(headers)
    assert id_ == json.loads(headers)["id"]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_table_that_ends_too_early_is_refused(cut: int) -> None:
    table = tables.encode(headers_of((1, 2)))[4:]

    with pytest.raises(tables.DecodeError):
        tables.decode(table[:-cut])


def test_what_is_said_twice_is_read_as_the_last_word() -> None:
    table = tables.encode(headers_of((1, 2), task_id=ID))[4:]

    read, id_ = tables.decode(b"\x02idS\x00\x00\x00\x01a" + table)

    assert (json.loads(read)["id"], id_) == (ID, ID)
