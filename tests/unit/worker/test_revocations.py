"""Which tasks are not to be run, and the file that remembers it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from umbel.clock import ManualClock
from umbel.model import Message, Request, Revocation
from umbel.worker.revoking.revocations import Revocations, of_headers, of_ids
from umbel.worker.revoking.statedb import StateFile


def request(id_: str, **headers: object) -> Request:
    message = Message(id=id_, body=b"[]", headers=json.dumps(headers).encode())
    return Request(key=1, id=id_, task="t", message=message)


def made(most: int = 10, seconds: float = 60.0) -> tuple[Revocations, ManualClock]:
    clock = ManualClock()
    return Revocations(clock, most=most, seconds=seconds), clock


def test_an_id_is_found_and_others_are_not() -> None:
    revocations, _ = made()
    revocations.add(of_ids(["a"]))

    assert revocations.find(request("a")) == Revocation("a")
    assert revocations.find(request("b")) is None


@pytest.mark.parametrize("stamp", ["x", ["w", "x"], 7])
def test_a_stamp_is_found_whether_it_has_one_value_or_several(stamp: object) -> None:
    revocations, _ = made()
    revocations.add(of_headers({"tenant": ["x", "y", "7"]}))

    assert revocations.find(request("a", stamped_headers=["tenant"], stamps={"tenant": stamp}))
    assert not revocations.find(request("a", stamped_headers=["tenant"], stamps={"tenant": "z"}))
    # What is not named as a stamp is none.
    assert not revocations.find(request("a", stamped_headers=[], stamps={"tenant": stamp}))


def test_the_oldest_go_when_there_are_too_many() -> None:
    revocations, _ = made(most=2)
    revocations.add(of_ids(["a", "b"]))
    revocations.add(of_ids(["a", "c"]))

    assert revocations.ids == ["a", "c"]


async def test_old_ones_stay_while_there_is_room_and_go_when_there_is_none() -> None:
    revocations, clock = made(most=3, seconds=60)
    revocations.add(of_ids(["a", "b"]))
    await clock.advance(61)
    revocations.add(of_ids(["c"]))
    assert revocations.ids == ["a", "b", "c"]

    revocations.add(of_ids(["d"]))

    assert revocations.ids == ["c", "d"]


def test_only_what_is_new_is_said_to_be() -> None:
    revocations, _ = made()
    revocations.add(of_ids(["a"]))

    assert revocations.add(of_ids(["a", "b"])) == of_ids(["b"])


def test_a_file_gives_back_what_it_was_given(tmp_path: Path) -> None:
    both = [*of_ids(["a"]), *of_headers({"tenant": "x"})]
    file = StateFile(tmp_path / "worker.state")
    assert file.read() == []

    assert file.write(both)

    assert StateFile(tmp_path / "worker.state").read() == both
    assert [path.name for path in tmp_path.iterdir()] == ["worker.state"]


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"{}", b'{"umbel_worker_state": 1}'])
def test_a_file_that_cannot_be_read_is_put_aside_and_said(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "worker.state"
    path.write_bytes(content)

    assert StateFile(path).read() == []
    assert StateFile(path).write(of_ids(["a"]))

    assert "cannot be read" in caplog.text
    assert (tmp_path / "worker.state.unreadable").read_bytes() == content
    assert StateFile(path).read() == of_ids(["a"])


def test_a_file_that_cannot_be_written_is_said_and_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not StateFile(tmp_path / "nowhere" / "worker.state").write(of_ids(["a"]))

    assert "Cannot write" in caplog.text
