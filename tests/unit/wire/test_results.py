"""The result document: celery's key-value backends are the peer."""

from __future__ import annotations

import os
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from celery import Celery
from celery.backends.base import KeyValueStoreBackend
from celery.backends.filesystem import FilesystemBackend
from hypothesis import given
from hypothesis import strategies as st

from umbel.clock import ManualClock
from umbel.exceptions import (
    BackendError,
    ContentDisallowed,
    DecodeError,
    EncodeError,
    SecurityError,
    TaskRevokedError,
    TooLarge,
)
from umbel.model import ResultRecord
from umbel.serialization.registry import content_types
from umbel.wire.results import ResultCodec, ResultMeta, decode_group, encode_group, peek_state

SERIALIZERS = ["json", "pickle", "yaml", "msgpack"]
EVERYTHING = content_types(SERIALIZERS)
START = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


class Ran(msgspec.Struct):
    id: str = "id-1"
    group_id: str | None = None
    parent_id: str | None = None


class Shelf(KeyValueStoreBackend):  # type: ignore[misc]  # celery is untyped
    """A backend of Celery's that keeps things in a dict."""

    def __init__(self, serializer: str, **settings: Any) -> None:
        app = Celery("peer", set_as_current=False)
        app.conf.update(accept_content=SERIALIZERS, result_accept_content=SERIALIZERS, **settings)
        self.kept: dict[Any, Any] = {}
        super().__init__(app, serializer=serializer)

    def get(self, key: Any) -> Any:
        return self.kept.get(key)

    def set(self, key: Any, value: Any) -> None:
        self.kept[key] = value

    def delete(self, key: Any) -> None:
        self.kept.pop(key, None)

    def shelve(self, record: ResultRecord) -> dict[str, Any]:
        """What Celery reads in a record of ours."""
        self.kept[self.get_key_for_task(record.id)] = record.body
        meta: dict[str, Any] = self.get_task_meta(record.id, cache=False)
        return meta

    def body(self, task_id: str) -> bytes:
        value = self.kept[self.get_key_for_task(task_id)]
        return value.encode() if isinstance(value, str) else value


def codec(serializer: str = "json", **options: Any) -> ResultCodec:
    return ResultCodec(serializer, clock=ManualClock(START), **options)


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("value", [None, 4, "é", {"a": [1, None, True]}, [], "x" * 10_000])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_celery_reads_our_values(serializer: str, value: object, compression: str | None) -> None:
    writer = codec(serializer, compression=compression)
    record = writer.succeeded(
        Ran(group_id="g", parent_id="p"), value, children=[[["c", None], None]]
    )

    meta = Shelf(serializer).shelve(record)

    assert (meta["status"], meta["result"], meta["task_id"]) == ("SUCCESS", value, "id-1")
    assert (meta["group_id"], meta["parent_id"]) == ("g", "p")
    assert meta["date_done"] == "2026-01-02T03:04:05.678000+00:00"
    assert meta["children"] == [[["c", None], None]]
    assert record.expires_at == START.timestamp() + 86400


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize(
    "exc", [ValueError("x", 1), KeyError(object()), TaskRevokedError("revoked"), Exception()]
)
def test_celery_reads_our_failures(serializer: str, exc: Exception) -> None:
    record = codec(serializer, failure_expires=10.0).failed(Ran(), exc, "Traceback")

    meta = Shelf(serializer).shelve(record)

    assert (meta["status"], meta["traceback"]) == ("FAILURE", "Traceback")
    assert type(meta["result"]).__name__ == type(exc).__name__
    assert isinstance(meta["result"], Exception)
    assert record.expires_at == START.timestamp() + 10


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("settings", [{}, {"result_extended": True}], ids=str)
def test_we_read_what_celery_stores(serializer: str, settings: dict[str, Any]) -> None:
    shelf = Shelf(serializer, **settings)
    reader = codec(serializer)
    shelf.store_result("ok", {"a": [1]}, "SUCCESS")
    shelf.store_result("bad", ValueError("x"), "FAILURE", traceback="tb")
    shelf.store_result("own", {"done": 5}, "PROGRESS")

    ok, bad, own = (
        reader.read(ResultRecord(id=name, state="", body=shelf.body(name)))
        for name in ("ok", "bad", "own")
    )

    assert (ok.task_id, ok.status, ok.result) == ("ok", "SUCCESS", {"a": [1]})
    assert ok.date_done is not None
    assert (bad.status, repr(bad.result), bad.traceback) == ("FAILURE", "ValueError('x')", "tb")
    assert (own.status, own.result, own.date_done) == ("PROGRESS", {"done": 5}, None)
    for name, state in (("ok", "SUCCESS"), ("bad", "FAILURE"), ("own", "PROGRESS")):
        assert peek_state(shelf.body(name)) == state


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_we_read_what_celery_compresses(serializer: str, tmp_path: Path) -> None:
    app = Celery("peer", set_as_current=False)
    app.conf.update(
        result_accept_content=SERIALIZERS, result_serializer=serializer, result_compression="zlib"
    )
    FilesystemBackend(app=app, url=f"file://{tmp_path}").store_result("ok", ["x" * 999], "SUCCESS")
    [body] = [path.read_bytes() for path in tmp_path.iterdir() if "meta-ok" in path.name]

    meta = codec(serializer).read(ResultRecord(id="ok", state="", body=body))

    assert body.startswith(b"\0celery-compressed\0")
    assert meta.result == ["x" * 999]
    assert peek_state(body) == "SUCCESS"


def test_extended_fields_and_stamps_come_back_on_both_sides() -> None:
    extra = {
        "name": "t.add",
        "args": [1, {2}],
        "kwargs": {"k": 1},
        "worker": "w@h",
        "retries": 2,
        "queue": "q",
        "stamps": {"mon": ["a"], "result": "spoof"},
    }
    writer = codec(extended=True)
    record = writer.succeeded(Ran(), 5, extra=extra)

    meta, theirs = writer.read(record), Shelf("json").shelve(record)

    assert (meta.name, meta.worker, meta.retries, meta.queue) == ("t.add", "w@h", 2, "q")
    assert (meta.result, meta.kwargs) == (5, {"k": 1})
    assert meta.stamps["mon"] == ["a"]
    assert (theirs["name"], theirs["mon"], theirs["result"]) == ("t.add", ["a"], 5)
    ours = meta.as_document()
    assert (ours["name"], ours["mon"], ours["result"]) == ("t.add", ["a"], 5)
    assert set(ours["stamped_headers"]) == {"mon", "result"}
    assert b"t.add" not in codec().succeeded(Ran(), 5, extra=extra).body


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_states_on_the_way_have_no_date(serializer: str) -> None:
    writer = codec(serializer)

    started = writer.state(Ran(), "STARTED", {"pid": 1, "hostname": "h"})
    retry = writer.state(Ran(), "RETRY", ValueError("again"), traceback="tb")
    revoked = writer.state(Ran(), "REVOKED", TaskRevokedError("expired"))
    empty = writer.state(Ran(), "RETRY", None)

    assert writer.read(started).date_done is None
    assert repr(writer.read(retry).result) == "ValueError('again')"
    assert type(writer.read(revoked).result) is TaskRevokedError
    assert writer.read(revoked).date_done == START
    assert writer.read(empty).result is None
    assert [r.state for r in (started, retry, revoked)] == ["STARTED", "RETRY", "REVOKED"]


@pytest.mark.parametrize("serializer", ["json", "yaml", "msgpack"])
def test_a_value_that_cannot_be_written_is_located(serializer: str) -> None:
    with pytest.raises(EncodeError, match=r"'object' at value\['a'\] as"):
        codec(serializer).succeeded(Ran(), {"a": object()})


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("no")


class PicklesOneWay(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(one)


@pytest.mark.parametrize("exc", [Unpicklable("x"), PicklesOneWay(1, 2), ValueError(lambda: 1)])
def test_an_exception_that_pickle_refuses_is_written_as_data(exc: Exception) -> None:
    writer = codec("pickle")

    meta = writer.read(writer.failed(Ran(), exc, None))

    assert isinstance(meta.result, Exception)
    assert type(exc).__name__ in repr(meta.result)


def test_results_that_never_expire() -> None:
    assert codec(expires=None).succeeded(Ran(), 1).expires_at is None
    assert codec(expires=0).succeeded(Ran(), 1).expires_at is None


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


def test_pickles_are_not_loaded_unless_accepted() -> None:
    body = pickle.dumps({"status": "SUCCESS", "result": Code()}, protocol=4)
    record = ResultRecord(id="i", state="", body=body)

    with pytest.raises(ContentDisallowed):
        codec().read(record)
    assert peek_state(body) == "SUCCESS"


def test_pickles_from_before_are_read_where_accepted() -> None:
    body = codec("pickle").succeeded(Ran(), {1, 2}).body

    meta = codec(accept=EVERYTHING).read(ResultRecord(id="i", state="", body=body))

    assert meta.result == {1, 2}


def _sealed(mime: bytes, data: bytes) -> bytes:
    return b"\0celery-compressed\0" + mime + b"\0" + data


def test_bombs_stop_at_the_limit_and_do_not_nest() -> None:
    import zlib

    bomb = _sealed(b"application/x-gzip", zlib.compress(bytes(10_000_000)))
    nested = _sealed(b"application/x-gzip", zlib.compress(bomb))

    with pytest.raises(TooLarge):
        codec(limit=1000).read(ResultRecord(id="i", state="", body=bomb))
    with pytest.raises(DecodeError, match="more than once"):
        codec().read(ResultRecord(id="i", state="", body=nested))
    with pytest.raises(TooLarge):
        peek_state(bomb, limit=1000)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"[]",
        b"{}",
        b'{"status": 5}',
        b'{"status": "SUCCESS", "date_done": "x"}',
        b'{"status": "SUCCESS", "date_done": 5}',
        b'{"status": "SUCCESS", "children": 5}',
        b'{"status": "SUCCESS", "traceback": {}}',
        b'{"status": "SUCCESS", "retries": "x"}',
        b'{"status": "FAILURE", "result": "x"}',
        b'{"status": "FAILURE", "result": {"exc_type": 1}}',
        b'{"status": "SUCCESS", "result": ' + b"[" * 100_000,
        b"\0celery-compressed\0",
        b"\0celery-compressed\0rar\0x",
        b"\0celery-compressed\0application/x-gzip\0x",
    ],
    ids=lambda body: ascii(body[:50]),
)
def test_bad_documents_are_decode_errors(body: bytes) -> None:
    with pytest.raises(DecodeError):
        codec().read(ResultRecord(id="i", state="", body=body))


def test_a_result_that_names_a_function_is_a_security_error() -> None:
    body = (
        b'{"status":"FAILURE","result":{"exc_type":"system","exc_module":"os","exc_message":"x"}}'
    )

    with pytest.raises(SecurityError):
        codec().read(ResultRecord(id="i", state="", body=body))


@given(st.binary(), st.sampled_from(["json", "yaml", "msgpack"]))
def test_arbitrary_bytes_are_a_result_or_a_documented_error(body: bytes, serializer: str) -> None:
    record = ResultRecord(id="i", state="", body=body)
    for read in (lambda: codec(serializer).read(record), lambda: peek_state(body)):
        try:
            read()
        except (DecodeError, ContentDisallowed, TooLarge, SecurityError):
            pass


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(
    values, st.text(st.characters(codec="utf-8")), st.sampled_from(["json", "pickle", "msgpack"])
)
def test_any_value_comes_back(value: object, task_id: str, serializer: str) -> None:
    writer = codec(serializer)

    meta = writer.read(writer.succeeded(Ran(id=task_id), value))

    assert meta == ResultMeta(
        task_id=task_id, status="SUCCESS", result=value, children=[], date_done=START
    )


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_groups_are_read_and_written_as_celery_does(serializer: str) -> None:
    shelf = Shelf(serializer)
    members = [[["a", None], None], [["b", None], None]]
    shelf.set(shelf.get_key_for_group("g"), encode_group("g", None, members, serializer=serializer))

    group = shelf.restore_group("g", cache=False)
    shelf.save_group("g2", group)

    assert [member.id for member in group] == ["a", "b"]
    body = shelf.kept[shelf.get_key_for_group("g2")]
    body = body.encode() if isinstance(body, str) else body
    group_id, _, found = decode_group(body, serializer=serializer)
    assert group_id == "g"
    assert [member[0][0] for member in found] == ["a", "b"]


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"result":5}', b'{"result":[["g"],[]]}', b"x"])
def test_a_bad_group_is_a_decode_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_group(body)


def test_a_backend_error_is_an_exception_like_any_other() -> None:
    meta = codec().read(codec().failed(Ran(), BackendError("x"), None))

    assert type(meta.result) is BackendError
