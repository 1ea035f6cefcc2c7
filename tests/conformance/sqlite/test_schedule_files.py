"""The file that periodic tasks are kept in where the broker cannot keep them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from umbel.clock import SystemClock
from umbel.drivers.sqlite.schedules import SQLiteScheduleFile
from umbel.exceptions import BrokerUnavailable
from umbel.model import ScheduleRecord


def _garbage(path: Path) -> None:
    path.write_bytes(b"not at all what it should be" * 200)


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _holes(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    for place in range(4096, len(whole), 4096):
        whole[place : place + 64] = b"\xee" * 64
    path.write_bytes(whole)


@pytest.mark.parametrize("damage", [_garbage, _half, _holes])
async def test_a_damaged_schedule_file_is_put_aside_and_a_new_one_begun(
    damage: Callable[[Path], None],
    tmp_path: Path,
    system_clock: SystemClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "beat.sqlite"
    store = SQLiteScheduleFile(path, clock=system_clock)
    await store.open()
    await store.put([ScheduleRecord(name="one", entry=b"{}", since=1.0)])
    await store.close()
    damage(path)
    was = path.read_bytes()

    store = SQLiteScheduleFile(path, clock=system_clock)
    with caplog.at_level(logging.ERROR):
        await store.open()
    assert await store.load() == []
    await store.put([ScheduleRecord(name="two", entry=b"{}", since=1.0)])
    assert [each.name for each in await store.load()] == ["two"]
    await store.close()

    [aside] = [
        each for each in tmp_path.glob("*.damaged-*") if not each.name.endswith(("wal", "shm"))
    ]
    assert aside.read_bytes() == was
    assert f"It is now {aside}" in caplog.text


async def test_a_schedule_file_that_cannot_be_used_is_left_where_it_is(
    tmp_path: Path, system_clock: SystemClock
) -> None:
    path = tmp_path / "beat.sqlite"
    path.mkdir()

    with pytest.raises(BrokerUnavailable, match="unable to open"):
        await SQLiteScheduleFile(path, clock=system_clock).open()

    assert [each.name for each in tmp_path.iterdir()] == ["beat.sqlite"]


async def test_a_whole_schedule_file_is_kept(tmp_path: Path, system_clock: SystemClock) -> None:
    for name in ("one", "two"):
        store = SQLiteScheduleFile(tmp_path / "beat.sqlite", clock=system_clock)
        await store.open()
        await store.put([ScheduleRecord(name=name, entry=b"{}", since=1.0)])
        await store.close()

    await store.open()
    assert sorted(each.name for each in await store.load()) == ["one", "two"]
    await store.close()
