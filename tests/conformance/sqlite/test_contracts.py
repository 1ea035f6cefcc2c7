"""The drivers in a SQLite file, against their contracts."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from umbel.clock import ManualClock
from umbel.drivers.sqlite.backend import SQLiteBackend
from umbel.drivers.sqlite.broker import SQLiteBroker
from umbel.drivers.sqlite.fanout import SQLiteFanout
from umbel.model import Exchange, Message, Queue
from umbel.testing.conformance.backend import BackendContract, MakeBackend
from umbel.testing.conformance.broker import BrokerContract, MakeBroker
from umbel.testing.conformance.clocks import WaitingClock
from umbel.testing.conformance.dead_letters import KEPT, DeadLetterContract
from umbel.testing.conformance.fanout import FanoutContract, MakeFanout
from umbel.testing.conformance.opening import opening
from umbel.testing.conformance.revocations import RevocationContract
from umbel.testing.conformance.schedules import ScheduleContract
from umbel.testing.conformance.transactions import TransactionContract


@pytest.fixture
async def make_broker(tmp_path: Path, clock: ManualClock) -> AsyncIterator[MakeBroker]:
    async with opening(
        lambda: SQLiteBroker(tmp_path / "umbel.db", clock=clock, keep_dead=KEPT)
    ) as make:
        yield make


@pytest.fixture
async def make_backend(tmp_path: Path, clock: ManualClock) -> AsyncIterator[MakeBackend]:
    async with opening(lambda: SQLiteBackend(tmp_path / "umbel.db", clock=clock)) as make:
        yield make


class TestSQLiteBroker(BrokerContract, DeadLetterContract, RevocationContract, ScheduleContract):
    pass


class TestSQLiteBackend(BackendContract):
    pass


class TestSQLiteTransactions(TransactionContract):
    pass


class TestSQLiteFanout(FanoutContract):
    @pytest.fixture
    async def make_fanout(self, tmp_path: Path) -> AsyncIterator[MakeFanout]:
        async with opening(
            lambda: SQLiteFanout(tmp_path / "umbel.db", clock=WaitingClock())
        ) as make:
            yield make


async def test_broadcasts_leave_nothing_behind(tmp_path: Path) -> None:
    path, clock = tmp_path / "umbel.db", ManualClock()
    fanout = SQLiteFanout(path, clock=clock)
    await fanout.open()
    news = Exchange("news", "fanout")
    message = Message(id="", body=b"hello", exchange="news", routing_key="")

    await fanout.broadcast(news, [message])
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM umbel_broadcasts").fetchone() == (0,)
    async with fanout.listen([Queue("ear", exchange=news)]):
        await fanout.broadcast(news, [message])
        await clock.advance(61)
        await fanout.broadcast(news, [message])
    await fanout.close()

    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM umbel_broadcasts").fetchone() == (1,)
        assert database.execute("SELECT count(*) FROM umbel_ears").fetchone() == (0,)
