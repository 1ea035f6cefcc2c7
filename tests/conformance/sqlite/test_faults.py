"""What can be wrong with a SQLite file: nothing is lost, and the error says what to do."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from umbel.clock import ManualClock, SystemClock
from umbel.drivers.sqlite.backend import SQLiteBackend
from umbel.drivers.sqlite.broker import SQLiteBroker
from umbel.drivers.sqlite.queries import queries
from umbel.exceptions import BackendUnavailable, BatchError, BrokerUnavailable, QueueConflict
from umbel.model import Ack, Arrival, Composed, Message, Queue, ResultRecord, Settlement
from umbel.testing.conformance.messages import ids, message, messages, take


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "umbel.db"


@pytest.fixture
async def broker(path: Path) -> AsyncIterator[SQLiteBroker]:
    broker = SQLiteBroker(path, clock=SystemClock(), patience=0.2)
    await broker.open()
    yield broker
    await broker.close()


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def remove(path: Path) -> None:
    for file in path.parent.iterdir():
        if file.is_file():
            file.unlink()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
async def test_only_the_user_may_read_the_file(path: Path, broker: SQLiteBroker) -> None:
    await broker.publish(messages(1))

    assert mode(path.parent) == 0o700
    assert {mode(file) for file in path.parent.iterdir() if file.is_file()} == {0o600}
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "umbel.db",
        "umbel.db-shm",
        "umbel.db-wal",
    ]


async def test_many_may_make_the_file_at_once(path: Path) -> None:
    brokers = [SQLiteBroker(path, clock=SystemClock()) for _ in range(10)]

    async with asyncio.timeout(30):
        await asyncio.gather(*(each.open() for each in brokers))
        await asyncio.gather(*(each.publish(messages(3)) for each in brokers))

    assert (await brokers[0].stats(["q"]))["q"].ready == 30
    await asyncio.gather(*(each.close() for each in brokers))


async def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, this is no database." * 100)

    with pytest.raises(BrokerUnavailable, match=r"letter\.txt.*something else than a SQLite"):
        await SQLiteBroker(path, clock=SystemClock()).open()
    with pytest.raises(BackendUnavailable, match=r"letter\.txt.*something else than a SQLite"):
        await SQLiteBackend(path, clock=SystemClock()).open()

    assert path.read_text().startswith("Dear reader")


async def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(BrokerUnavailable, match=r"file/umbel\.db.*May this user write there"):
        await SQLiteBroker(tmp_path / "file" / "umbel.db", clock=SystemClock()).open()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
async def test_a_folder_that_is_not_ours_is_named(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o500)  # noqa: PTH101

    with pytest.raises(BrokerUnavailable, match=r"umbel\.db.*Permission denied"):
        await SQLiteBroker(tmp_path / "umbel.db", clock=SystemClock()).open()


async def test_a_lock_that_is_held_too_long_is_an_error_and_then_forgotten(
    path: Path, broker: SQLiteBroker
) -> None:
    with database(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BrokerUnavailable, match=r"umbel\.db.*another program has locked it"):
            await broker.publish([message("a")])
        other.execute("COMMIT")

    await broker.publish([message("b")])
    assert ids(await take(broker, 1)) == ["b"]


async def test_a_lock_that_is_held_briefly_is_waited_for(path: Path) -> None:
    broker = SQLiteBroker(path, clock=SystemClock())
    await broker.open()
    with database(path) as other:
        other.execute("BEGIN IMMEDIATE")
        publishing = asyncio.create_task(broker.publish([message("a")]))
        await asyncio.wait([publishing], timeout=0.2)
        assert not publishing.done()
        other.execute("COMMIT")

    await publishing
    assert ids(await take(broker, 1)) == ["a"]
    await broker.close()


@contextmanager
def locked(connection: sqlite3.Connection) -> Iterator[None]:
    """Somebody else writes, and does not come to an end."""
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")


@contextmanager
def unwritable(connection: sqlite3.Connection) -> Iterator[None]:
    """Whatever is written is refused, as on a full disk."""
    tables = [
        (table, event)
        for table in ("umbel_messages", "umbel_meta")
        for event in ("INSERT", "UPDATE", "DELETE")
    ]
    for table, event in tables:
        connection.execute(
            f"CREATE TRIGGER full_{table}_{event} BEFORE {event} ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    yield
    for table, event in tables:
        connection.execute(f"DROP TRIGGER full_{table}_{event}")


@pytest.mark.parametrize("trouble", [locked, unwritable])
@pytest.mark.parametrize("holder_lives", [True, False])
async def test_leases_that_nobody_could_extend_are_not_over_yet(
    path: Path, trouble: Callable[..., Any], holder_lives: bool
) -> None:
    clock = ManualClock()
    holder, idle = (SQLiteBroker(path, clock=clock, lease=20, patience=1.0) for _ in range(2))
    await holder.open()
    await idle.open()
    await holder.publish([message("a")])
    held = await take(holder, 1)

    with database(path) as connection, trouble(connection):
        await clock.advance(21)
        for _ in range(2):
            with pytest.raises(BrokerUnavailable):
                await idle.receive(["q"], limit=1, wait=0)
        with pytest.raises(BrokerUnavailable):
            await holder.extend(held, lease=20)

    assert await idle.receive(["q"], limit=1, wait=0) == []
    await clock.advance(7)
    assert await idle.receive(["q"], limit=1, wait=0) == []
    if holder_lives:
        assert await holder.extend(held, lease=20) == []
    await clock.advance(4)
    found = await idle.receive(["q"], limit=1, wait=0)
    assert ids(found) == ([] if holder_lives else ["a"])
    assert await holder.ack(held) == ([] if holder_lives else held)
    await holder.close()
    await idle.close()


async def test_who_waited_for_a_lock_as_a_lease_ended_does_not_end_it(path: Path) -> None:
    clock = ManualClock()
    holder, idle = (SQLiteBroker(path, clock=clock, lease=20, patience=30.0) for _ in range(2))
    await holder.open()
    await idle.open()
    await holder.publish([message("a")])
    held = await take(holder, 1)
    with database(path) as connection, locked(connection):
        await clock.advance(21)
        receiving = asyncio.create_task(idle.receive(["q"], limit=1, wait=0))
        extending = asyncio.create_task(holder.extend(held, lease=20))
        await asyncio.wait([receiving, extending], timeout=2.5)
        assert not receiving.done()

    assert await receiving == []
    assert await extending == []
    await holder.close()
    await idle.close()


async def test_a_file_that_was_removed_is_made_anew(path: Path, broker: SQLiteBroker) -> None:
    await broker.publish(messages(1))
    remove(path)

    await broker.publish([message("after")])

    other = SQLiteBroker(path, clock=SystemClock())
    await other.open()
    assert ids(await take(other, 1)) == ["after"]
    await other.close()


async def test_a_waiting_receive_follows_a_file_that_is_made_anew(path: Path) -> None:
    one, other = (SQLiteBroker(path, clock=SystemClock()) for _ in range(2))
    await one.open()
    receiving = asyncio.create_task(one.receive(["q"], limit=1, wait=20))
    await asyncio.sleep(0)
    remove(path)
    await other.open()

    await other.publish([message("a")])

    async with asyncio.timeout(30):
        assert ids(await receiving) == ["a"]
    await one.close()
    await other.close()


FULL = """
import asyncio, resource, signal, sys
from umbel.clock import SystemClock
from umbel.drivers.sqlite.broker import SQLiteBroker
from umbel.exceptions import BrokerUnavailable
from umbel.model import Message

def batch(name):
    return [Message(id=f"{name}-{n}", body=b"x" * 10_000, routing_key="q") for n in range(10)]

async def main():
    broker = SQLiteBroker(sys.argv[1], clock=SystemClock())
    await broker.open()
    await broker.publish(batch("before"))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    confirmed = 1
    try:
        while True:
            await broker.publish(batch("more"))
            confirmed += 1
    except BrokerUnavailable as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await broker.publish(batch("after"))
    print(confirmed + 1, (await broker.stats(["q"]))["q"].ready)
    await broker.close()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
def test_a_full_disk_is_an_error_that_loses_nothing_and_ends_with_it(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, path], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.stderr == ""
    error, counts = done.stdout.splitlines()
    batches, ready = map(int, counts.split())
    assert "umbel.db" in error
    assert "the disk is full" in error
    assert ready == batches * 10
    with database(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_the_log_gives_back_what_a_large_batch_took(path: Path, broker: SQLiteBroker) -> None:
    log = path.with_name("umbel.db-wal")
    await broker.publish([message(body=b"x" * 1_000_000) for _ in range(80)])
    large = log.stat().st_size

    await broker.publish(messages(1))

    assert large > 80_000_000
    assert log.stat().st_size <= 64 << 20


async def test_tables_of_others_may_live_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with database(path) as connection:
        connection.execute("CREATE TABLE messages (body TEXT)")
        connection.execute("INSERT INTO messages VALUES ('theirs')")
    broker = SQLiteBroker(path, clock=SystemClock())
    await broker.open()

    await broker.publish([message("ours")])

    assert ids(await take(broker, 1)) == ["ours"]
    with database(path) as connection:
        assert connection.execute("SELECT body FROM messages").fetchall() == [("theirs",)]
    await broker.close()


async def test_a_row_that_is_no_message_is_handed_out_as_what_it_is(
    path: Path, broker: SQLiteBroker
) -> None:
    await broker.publish([message("good")])
    with database(path) as connection:
        connection.execute(
            "INSERT INTO umbel_messages (queue, rank, message) "
            "SELECT id, 0, x'ff00' FROM umbel_queues WHERE name = 'q'"
        )

    good, bad = await take(broker, 2)

    assert good.defect is None
    assert bad.defect is not None
    assert "holds no message" in bad.defect
    assert (bad.message.id, bad.message.body) == ("", b"\xff\x00")
    assert await broker.nack([bad], requeue=False) == []
    with database(path) as connection:
        assert connection.execute("SELECT message FROM umbel_dead").fetchall() == [(b"\xff\x00",)]


async def test_what_cannot_be_kept_is_refused_by_index(broker: SQLiteBroker) -> None:
    odd = Message(id="odd", body=b"", routing_key="q", properties={"key": object()})
    surrogate = Message(id="a", body=b"", routing_key="\ud800")

    with pytest.raises(BatchError) as caught:
        await broker.publish([message("a"), odd, surrogate, message("b")])

    assert sorted(caught.value.errors) == [1, 2]
    assert sorted(ids(await take(broker, 2))) == ["a", "b"]


async def test_a_follow_up_that_reaches_no_queue_does_not_hold_up_the_others(
    broker: SQLiteBroker, caplog: pytest.LogCaptureFixture
) -> None:
    await broker.publish(messages(1))
    [delivery] = await take(broker, 1)
    follow_ups = (message("lost", exchange="nowhere"), message("kept", routing_key="next"))

    settlement = Settlement(delivery=delivery, verdict=Ack(), publish=follow_ups)
    assert await broker.settle([settlement], compose=lambda _, __: Composed()) == []

    assert "The follow-up 'lost' is lost" in caplog.text
    assert ids(await take(broker, 1, "next")) == ["kept"]


async def test_a_settlement_that_cannot_be_composed_changes_nothing(
    path: Path, broker: SQLiteBroker
) -> None:
    backend = SQLiteBackend(path, clock=SystemClock())
    await backend.open()
    await broker.publish(messages(1))
    [delivery] = await take(broker, 1)
    done = ResultRecord(id="a", state="SUCCESS", body=b"{}")
    arrival = Arrival(chord_id="c", index=0, size=1, record=done, body=b"-")
    settlement = Settlement(delivery=delivery, verdict=Ack(), record=done, arrivals=(arrival,))

    def fail(*_: object) -> list[Message]:
        raise ValueError("no such body")

    with pytest.raises(ValueError, match="no such body"):
        await broker.settle([settlement], compose=fail)

    assert await backend.load(["a"]) == {}
    assert await broker.settle([settlement], compose=lambda _, __: Composed()) == []
    assert set(await backend.load(["a"])) == {"a"}
    await backend.close()


async def test_a_queue_cannot_be_declared_with_other_properties(broker: SQLiteBroker) -> None:
    await broker.publish(messages(1))
    await broker.declare([Queue("q")])

    with pytest.raises(QueueConflict, match="queue 'q' exists with max_priority=None"):
        await broker.declare([Queue("other"), Queue("q", max_priority=10)])


async def test_expired_messages_are_counted(path: Path) -> None:
    clock = ManualClock()
    broker = SQLiteBroker(path, clock=clock)
    await broker.open()
    await broker.declare([Queue("brief", message_ttl=5)])
    await broker.publish(messages(3, routing_key="brief"))
    await clock.advance(6)

    assert await broker.receive(["brief"], limit=9, wait=0) == []

    with database(path) as connection:
        [(expired,)] = connection.execute("SELECT expired FROM umbel_queues WHERE name = 'brief'")
    assert expired == 3
    await broker.close()


async def test_a_producer_hears_of_a_queues_ttl_that_somebody_declares_later(path: Path) -> None:
    clock = ManualClock()
    producer, worker = (SQLiteBroker(path, clock=clock) for _ in range(2))
    await producer.open()
    await worker.open()
    await producer.publish([message("before", routing_key="brief")])

    await worker.declare([Queue("brief", message_ttl=5)])
    await producer.publish([message("after", routing_key="brief")])
    await clock.advance(6)

    assert ids(await worker.receive(["brief"], limit=9, wait=0)) == ["before"]
    await producer.close()
    await worker.close()


def contents(folder: Path) -> list[str]:
    return [file.name for file in folder.glob("*")]


async def until_there(folder: Path) -> None:
    async with asyncio.timeout(30):
        while not contents(folder):  # noqa: ASYNC110 - made in another thread
            await asyncio.sleep(0.001)


async def test_pipes_of_processes_that_are_gone_are_cleared_away(
    path: Path, broker: SQLiteBroker
) -> None:
    waiter = SQLiteBroker(path, clock=SystemClock())
    await waiter.open()
    receiving = asyncio.create_task(waiter.receive(["q"], limit=1, wait=10))
    pipes = path.parent / "umbel.db-wake"
    await until_there(pipes)
    os.mkfifo(pipes / "1-gone")
    with database(path) as connection:
        connection.execute("INSERT INTO umbel_listeners VALUES ('1-gone', 'messages')")
        connection.execute("INSERT INTO umbel_listeners VALUES ('../umbel.db', 'messages')")

    await broker.publish([message("a")])
    assert ids(await receiving) == ["a"]
    await broker.publish(messages(1))
    await broker.publish(messages(1))

    assert len(contents(pipes)) == 1
    with database(path) as connection:
        assert connection.execute("SELECT count(*) FROM umbel_listeners").fetchone() == (1,)
    await waiter.close()
    assert contents(pipes) == []


async def test_news_arrives_without_pipes_too(tmp_path: Path) -> None:
    path = tmp_path / "umbel.db"
    # Where the folder of pipes should be there is a file: none can be made.
    (tmp_path / "umbel.db-wake").touch()
    one, other = (SQLiteBroker(path, clock=SystemClock()) for _ in range(2))
    await one.open()
    await other.open()

    for number in range(5):
        receiving = asyncio.create_task(one.receive(["q"], limit=1, wait=10))
        await asyncio.sleep(0.01 * number)
        await other.publish([message(f"{number}")])
        async with asyncio.timeout(30):
            assert ids(await receiving) == [f"{number}"]

    await one.close()
    await other.close()


async def test_a_closed_broker_says_so_and_ends_its_receives(broker: SQLiteBroker) -> None:
    receiving = asyncio.create_task(broker.receive(["q"], limit=1, wait=100))
    await asyncio.sleep(0.05)

    await broker.close()

    async with asyncio.timeout(30):
        assert await receiving == []
    with pytest.raises(BrokerUnavailable, match="closed"):
        await broker.publish(messages(1))


async def test_a_watch_ends_with_an_error_when_its_backend_closes(path: Path) -> None:
    backend = SQLiteBackend(path, clock=SystemClock())
    await backend.open()
    async with backend.watch(["a"]) as changes:
        following = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)

        await backend.close()

        with pytest.raises(BackendUnavailable, match="closed"):
            await following


async def test_synchronous_full_is_what_is_set(path: Path) -> None:
    with pytest.raises(ValueError, match="synchronous='OFF': it can be 'NORMAL' or 'FULL'"):
        SQLiteBroker(path, clock=SystemClock(), synchronous="OFF")  # type: ignore[arg-type]

    broker = SQLiteBroker(path, clock=SystemClock(), synchronous="FULL")
    await broker.open()
    await broker.publish([message("a")])
    assert ids(await take(broker, 1)) == ["a"]
    await broker.close()


def test_every_statement_is_used() -> None:
    folder = Path(__file__).parents[3] / "umbel" / "drivers" / "sqlite"
    source = "".join(file.read_text() for file in folder.glob("*.py"))

    unused = [name for name in queries() if f'"{name}"' not in source]

    assert unused == []
