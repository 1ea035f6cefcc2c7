"""Files of other releases: what is in them is kept, and leases that run in them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from umbel.clock import ManualClock, SystemClock
from umbel.drivers.sqlite.broker import SQLiteBroker
from umbel.drivers.sqlite.queries import queries
from umbel.drivers.sqlite.schema import VERSION
from umbel.exceptions import BrokerUnavailable
from umbel.testing.conformance.messages import ids, message, take

RELEASED = (Path(__file__).parent / "schema-4.sql").read_text("utf-8")
NEW_SINCE = {
    1: ("chord_added", "claims", "revocations", "broadcasts", "ears"),
    2: ("schedule", "schedule_leader"),
}
"""What files of a version do not have yet."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "umbel.db"


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@contextmanager
def older(path: Path, version: int = 4) -> Iterator[sqlite3.Connection]:
    """A file of an older release, with a queue."""
    with database(path) as connection:
        connection.executescript(RELEASED)
        connection.execute(queries()["add_queue"], ("q",))
        connection.execute(queries()["set_version"], (version,))
        yield connection


def put(connection: sqlite3.Connection, name: str, **columns: object) -> None:
    """A message as release 4 has put it."""
    columns |= {"queue": 1, "rank": 0, "message": msgspec.msgpack.encode(message(name))}
    names, places = ", ".join(columns), ", ".join("?" * len(columns))
    connection.execute(
        f"INSERT INTO umbel_messages ({names}) VALUES ({places})",
        tuple(columns.values()),
    )


def described(path: Path) -> list[tuple[str, ...]]:
    """Every table and index, with its columns."""
    with database(path) as connection:
        found = connection.execute("SELECT type, name, tbl_name FROM sqlite_master").fetchall()
        return sorted(
            (
                *row,
                *(
                    str(column[1])
                    for column in connection.execute(f"PRAGMA {row[0]}_info({row[1]})")
                ),
            )
            for row in found
        )


async def test_a_newer_schema_is_left_alone(path: Path) -> None:
    broker = SQLiteBroker(path, clock=SystemClock())
    await broker.open()
    await broker.close()
    with database(path) as connection:
        connection.execute(queries()["set_version"], (99,))

    with pytest.raises(BrokerUnavailable, match=r"has schema 99.*Update umbel"):
        await broker.open()


@pytest.mark.parametrize("version", [1, 2, 3, 4])
async def test_a_file_of_an_older_release_is_brought_up_to_date_with_what_is_in_it(
    path: Path, tmp_path: Path, version: int
) -> None:
    with older(path, version) as connection:
        put(connection, "old")
        for table in (each for since in NEW_SINCE if since >= version for each in NEW_SINCE[since]):
            connection.execute(f"DROP TABLE umbel_{table}")
        if version < 4:
            connection.execute("ALTER TABLE umbel_chords DROP COLUMN body")
        if version == 1:
            connection.execute("ALTER TABLE umbel_messages DROP COLUMN begun")
            connection.execute("ALTER TABLE umbel_messages DROP COLUMN redelivered")
            connection.execute("DROP TABLE umbel_chord_members")
            connection.execute("CREATE TABLE umbel_chord_members (chord TEXT, place INTEGER)")
    broker, fresh = (
        SQLiteBroker(each, clock=SystemClock()) for each in (path, tmp_path / "fresh.db")
    )

    await broker.open()
    await fresh.open()

    assert ids(await take(broker, 1)) == ["old"]
    assert described(path) == described(tmp_path / "fresh.db")
    with database(path) as connection:
        assert connection.execute(queries()["get_version"]).fetchone() == (VERSION,)
    await broker.close()
    await fresh.close()


async def test_a_lease_of_an_older_release_ends_when_that_has_said(path: Path) -> None:
    clock = ManualClock()
    with older(path) as connection:
        put(connection, "running", due=clock.time() + 20, token=7)
        put(connection, "begun", due=clock.time() + 20, token=8, begun=1)
        put(connection, "late", due=clock.time() + 100)
    broker = SQLiteBroker(path, clock=clock)
    await broker.open()

    assert await broker.receive(["q"], limit=9, wait=0) == []
    stats = (await broker.stats(["q"]))["q"]
    assert (stats.ready, stats.leased, stats.delayed) == (0, 2, 1)
    await clock.advance(10)
    # Its holder, a worker that still runs, extends it as it always has.
    with database(path) as connection:
        connection.execute(
            "UPDATE umbel_messages SET due = ? WHERE seq = 1 AND token = 7", (clock.time() + 20,)
        )
    await clock.advance(15)
    [begun] = await take(broker, 1)
    assert (begun.message.id, begun.begun, begun.attempt) == ("begun", True, 2)
    await clock.advance(10)
    [again] = await take(broker, 1)

    assert (again.message.id, again.redelivered, again.attempt) == ("running", True, 2)
    assert await broker.ack([begun, again]) == []
    await broker.close()


async def test_a_worker_of_an_older_release_does_not_take_what_ours_has(path: Path) -> None:
    with older(path):
        pass
    clock = ManualClock()
    broker = SQLiteBroker(path, clock=clock)
    await broker.open()
    await broker.publish([message("a")])
    await take(broker, 1)

    with database(path) as connection:
        ready = connection.execute("SELECT 1 FROM umbel_messages WHERE due IS NULL").fetchall()
        over = connection.execute("SELECT 1 FROM umbel_messages WHERE due <= 1e12").fetchall()

    assert ready == over == []
    await broker.close()


async def test_who_led_in_an_older_release_is_followed_by_one_with_a_later_term(path: Path) -> None:
    clock = ManualClock()
    with older(path) as connection:
        connection.execute(
            "INSERT INTO umbel_schedule_leader VALUES (1, 'old', 41, ?, 5)", (clock.time() + 30,)
        )
    broker = SQLiteBroker(path, clock=clock)
    await broker.open()

    led = await broker.schedules.lead("new", lease=30)

    assert (led.leader, led.term, led.version) == ("new", 42, 5)
    await broker.close()


def test_the_comments_beside_the_tables_are_those_of_this_version() -> None:
    schema = (Path(__file__).parents[3] / "umbel/drivers/sqlite/schema.sql").read_text("utf-8")
    assert re.search(rf"\bVersion {VERSION}\b", schema)
