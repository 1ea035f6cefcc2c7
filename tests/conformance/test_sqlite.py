"""The drivers in a SQLite file, against their contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from umbel.clock import ManualClock
from umbel.drivers.sqlite.backend import SQLiteBackend
from umbel.drivers.sqlite.broker import SQLiteBroker
from umbel.testing.conformance.backend import BackendContract, MakeBackend
from umbel.testing.conformance.broker import BrokerContract, MakeBroker
from umbel.testing.conformance.revocations import RevocationContract
from umbel.testing.conformance.transactions import TransactionContract


@pytest.fixture
async def make_broker(tmp_path: Path, clock: ManualClock) -> AsyncIterator[MakeBroker]:
    made: list[SQLiteBroker] = []

    async def make() -> SQLiteBroker:
        made.append(SQLiteBroker(tmp_path / "umbel.db", clock=clock))
        await made[-1].open()
        return made[-1]

    yield make
    for broker in made:
        await broker.close()


@pytest.fixture
async def make_backend(tmp_path: Path, clock: ManualClock) -> AsyncIterator[MakeBackend]:
    made: list[SQLiteBackend] = []

    async def make() -> SQLiteBackend:
        made.append(SQLiteBackend(tmp_path / "umbel.db", clock=clock))
        await made[-1].open()
        return made[-1]

    yield make
    for backend in made:
        await backend.close()


class TestSQLiteBroker(BrokerContract, RevocationContract):
    pass


class TestSQLiteBackend(BackendContract):
    pass


class TestSQLiteTransactions(TransactionContract):
    pass
