"""Exceptions as data: celery's backend is the peer, and nothing is run or imported."""

from __future__ import annotations

import json
import sys
from typing import Any

import celery.exceptions
import pytest
from celery import Celery
from celery.backends.base import Backend
from hypothesis import given
from hypothesis import strategies as st

from umbel import exceptions
from umbel.exceptions import DecodeError, SecurityError
from umbel.serialization import json as umbel_json
from umbel.wire import errors


class Outer:
    class Inner(Exception):
        pass


class Needy(Exception):
    def __init__(self, one: object, two: object) -> None:
        super().__init__()


class Unshowable(Exception):
    def __repr__(self) -> str:
        raise ValueError("no")

    __str__ = __repr__


class Argless(Exception):
    @property
    def args(self) -> Any:  # type: ignore[override]
        raise ValueError("no")


Outer.Inner.__module__ = Needy.__module__ = Unshowable.__module__ = "errors_of_the_test"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("errors_of_the_test")
    vars(module).update(Outer=Outer, Needy=Needy, Unshowable=Unshowable, value=5)
    monkeypatch.setitem(sys.modules, "errors_of_the_test", module)


@pytest.fixture(scope="module")
def peer() -> Backend:
    return Backend(Celery("peer", set_as_current=False), url="disabled://")


def caused() -> Exception:
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError as error:
        error.add_note("note")
        return error


EXCEPTIONS: list[BaseException] = [
    ValueError("x"),
    KeyError("k"),
    OSError(2, "no", "file"),
    UnicodeDecodeError("utf-8", b"a", 0, 1, "bad"),
    Outer.Inner("q", 1),
    Needy(1, 2),
    SystemExit(3),
    ValueError((1, 2), {"a": None}),
    caused(),
]


@pytest.mark.parametrize("exc", EXCEPTIONS, ids=lambda exc: type(exc).__name__)
def test_the_data_is_celerys_and_reads_the_same_on_both_sides(
    exc: BaseException, peer: Backend
) -> None:
    data = json.loads(umbel_json.dumps(errors.encode(exc)))

    assert data == json.loads(umbel_json.dumps(peer.prepare_exception(exc, "json")))
    ours, theirs = (
        errors.decode(umbel_json.loads(json.dumps(data))),
        peer.exception_to_python(umbel_json.loads(json.dumps(data))),
    )
    assert type(ours) is type(theirs)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(
    "name",
    ["TaskRevokedError", "ChordError", "WorkerLostError", "TimeLimitExceeded", "NotRegistered"],
)
def test_our_exceptions_are_celerys_over_there_and_back(name: str, peer: Backend) -> None:
    data = errors.encode(getattr(exceptions, name)("why"))

    theirs = peer.exception_to_python(dict(data))

    assert type(theirs) is getattr(celery.exceptions, name)
    assert type(errors.decode(peer.prepare_exception(theirs, "json"))) is getattr(exceptions, name)


def test_what_cannot_be_written_is_shown() -> None:
    data = errors.encode(ValueError("x", object(), Unshowable(), {1, 2}, 10**5000))

    message = data["exc_message"]
    assert isinstance(message, list)
    assert message[0] == "x"
    assert message[1].startswith("<object object at")
    assert "Unrepresentable" in message[2]
    assert message[3] == "{1, 2}"
    umbel_json.dumps(data)


def test_the_oddest_exceptions_are_written_and_read() -> None:
    for exc in (Unshowable("x"), Argless(), ExceptionGroup("g", [ValueError(1)])):
        read = errors.decode(umbel_json.loads(umbel_json.dumps(errors.encode(exc))))
        assert isinstance(read, BaseException)
    retry = exceptions.Retry("m", ValueError("z"), 3)
    assert errors.encode(retry)["exc_module"] == "celery.exceptions"


@pytest.mark.parametrize(
    "data",
    [
        {"exc_type": "Foo", "exc_message": ["a"], "exc_module": "module_nobody_has"},
        {"exc_type": "Foo", "exc_message": ["a"], "exc_module": "errors_of_the_test"},
        {"exc_type": "Foo", "exc_message": "a"},
        {"exc_type": "Outer.Foo", "exc_message": ["a"], "exc_module": "errors_of_the_test"},
        {"exc_type": "value.Foo", "exc_message": ["a"], "exc_module": "errors_of_the_test"},
        {"exc_type": "Foo", "exc_message": ["a"], "exc_module": 5},
        {"exc_type": "f.<locals>.Foo", "exc_message": ["a"], "exc_module": "x"},
    ],
    ids=str,
)
def test_an_unknown_exception_is_made_for_the_occasion(data: dict[str, object]) -> None:
    before = set(sys.modules)

    read = errors.decode(data)

    assert type(read).__name__ == "Foo"
    assert type(read).__module__ == errors.UNKNOWN_MODULE
    assert read.args == ("a",)
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("sys", "modules"),
        ("os", "path.join"),
        ("subprocess", "Popen"),
        ("errors_of_the_test", "Outer"),
        ("errors_of_the_test", "value"),
    ],
)
def test_what_is_no_exception_is_a_security_error(module: str, name: str) -> None:
    __import__(module)

    with pytest.raises(SecurityError, match="expected an exception class"):
        errors.decode({"exc_type": name, "exc_message": ["echo"], "exc_module": module})


def test_no_module_is_imported_through_another() -> None:
    lazy = type(sys)("lazy_of_the_test")
    asked: list[str] = []
    lazy.__getattr__ = asked.append  # type: ignore[method-assign]
    sys.modules["lazy_of_the_test"] = lazy
    try:
        errors.decode({"exc_type": "X", "exc_message": [], "exc_module": "lazy_of_the_test"})
    finally:
        del sys.modules["lazy_of_the_test"]

    assert asked == []


@pytest.mark.parametrize(
    "data",
    [None, "x", 3, [], {}, {"exc_type": 1}, {"exc_type": ""}, {"exc_type": "x" * 1000}],
    ids=lambda data: ascii(data)[:30],
)
def test_what_is_no_exception_at_all_is_a_decode_error(data: object) -> None:
    with pytest.raises(DecodeError):
        errors.decode(data)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    st.text(st.characters()) | st.sampled_from(["ValueError", "UnicodeDecodeError", "a.b", "."]),
    anything,
    anything | st.sampled_from(["builtins", "sys", "celery.exceptions"]),
)
def test_anything_is_an_exception_or_a_documented_error(
    name: str, message: object, module: object
) -> None:
    try:
        read = errors.decode({"exc_type": name, "exc_message": message, "exc_module": module})
    except (SecurityError, DecodeError):
        pass
    else:
        assert isinstance(read, BaseException)
