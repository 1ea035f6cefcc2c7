"""Our JSON and kombu's say the same, in both directions."""

from __future__ import annotations

import collections
import enum
import json as stdlib
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import kombu.utils.json as kombu
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.exceptions import DecodeError, EncodeError
from umbel.serialization import json


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


class Point(collections.namedtuple("Point", "x y")):
    __slots__ = ()


class Saved:
    def __json__(self) -> object:
        return {"saved": True}

    def __repr__(self) -> str:
        # In the names of tests, which must be the same in every process.
        return "Saved()"


class Broken:
    def __json__(self) -> object:
        raise KeyError("no")


VALUES = [
    None,
    True,
    0,
    -0.0,
    1.5,
    2**64,
    -(2**70),
    "é\u2028\x00😀",
    "\ud800",
    {"\udfff": 1},
    [],
    {},
    (1, (2, [3, {"a": None}])),
    {1: 2, None: 3, True: 4, 1.5: 5},
    math.inf,
    [-math.inf, 1.0],
    datetime(2026, 1, 2, 3, 4, 5),
    datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    date(2026, 1, 2),
    time(1, 2, 3, 4),
    Decimal("1.50"),
    uuid.UUID(int=5),
    b"abc",
    b"\xff\xfe",
    {"deep": [{"when": date(2026, 1, 1), "what": b"\x00"}]},
    Colour.RED,
    Text("x"),
    Point(1, 2),
    Saved(),
    collections.OrderedDict(a=1),
    collections.defaultdict(int, a=1),
    {"__type__": "bytes", "__value__": "spoof"},
    {"__type__": "datetime", "__value__": "2026-01-01", "more": 1},
]


@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_what_we_write_kombu_reads_as_what_it_writes_itself(value: object) -> None:
    assert kombu.loads(json.dumps(value).decode()) == kombu.loads(kombu.dumps(value))


@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_what_kombu_writes_we_read_as_it_does(value: object) -> None:
    text = kombu.dumps(value)

    assert json.loads(text.encode("utf-8", "surrogatepass")) == kombu.loads(text)


def test_nan_survives() -> None:
    read = json.loads(json.dumps({"x": math.nan}))

    assert isinstance(read, dict)
    assert math.isnan(read["x"])


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({1, 2}, "an instance of 'set' as JSON"),
        ([1, {"ctx": object()}], "an instance of 'object' at value[1]['ctx'] as JSON"),
        (timedelta(1), "an instance of 'datetime.timedelta'"),
        ({"a": {(1, 2): 3}}, "a dict with keys that are not strings at value['a']"),
        ([Broken()], "test_json.Broken' at value[0]"),
    ],
)
def test_what_cannot_be_written_is_named_and_located(value: object, sentence: str) -> None:
    with pytest.raises(EncodeError) as caught:
        json.dumps(value)

    assert sentence in str(caught.value)


def test_cycles_and_huge_integers_are_encode_errors() -> None:
    cycle: list[object] = []
    cycle.append(cycle)

    for value in (cycle, 10**5000, [10**5000], {"a": {1: 10**5000}}):
        with pytest.raises(EncodeError):
            json.dumps(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[1,]",
        b"nul",
        b"[1] x",
        b"\xff",
        b'"\xff"',
        b'["\xed\xa0\x80"]',
        "[1]".encode("utf-16"),
        b"\xef\xbb\xbf[1]",
        b"1" * 5000,
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"__type__": "x", "__value__": 1}',
        b'{"__type__": ["x"], "__value__": 1}',
        b'{"__type__": "datetime", "__value__": 1}',
        b'{"__type__": "decimal", "__value__": "x"}',
        b'{"__type__": "uuid", "__value__": "x"}',
        b'{"__type__": "uuid", "__value__": {"hex": 1}}',
        b'{"__type__": "base64", "__value__": "\xc3\xa9"}',
        b'{"__type__": "bytes", "__value__": "\\ud800"}',
        b'["__type__"' + b"[" * 100_000,
    ],
    ids=lambda data: ascii(data[:40]),
)
def test_bad_json_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        json.loads(data)


def test_a_registered_type_comes_back_and_its_errors_are_decode_errors() -> None:
    class Money:
        def __init__(self, cents: int) -> None:
            self.cents = cents

    class Euro(Money):
        pass

    json.register_type(Money, "test-money", lambda money: money.cents, Money)

    read = json.loads(json.dumps([Euro(5)]))

    assert isinstance(read, list)
    assert read[0].cents == 5

    json.register_type(Money, "test-money", lambda money: money.cents, lambda _: 1 / 0)
    with pytest.raises(DecodeError, match="is no test-money"):
        json.loads(b'{"__type__": "test-money", "__value__": 5}')


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


@given(plain)
def test_plain_values_survive_and_kombu_agrees(value: object) -> None:
    data = json.dumps(value)

    # Compared as text: NaN equals nothing.
    assert stdlib.dumps(json.loads(data)) == stdlib.dumps(value)
    assert stdlib.dumps(kombu.loads(data.decode())) == stdlib.dumps(value)


@given(st.binary())
def test_arbitrary_bytes_are_a_value_or_a_decode_error(data: bytes) -> None:
    try:
        json.loads(data)
    except DecodeError:
        pass


@given(st.text(alphabet='[]{}":,\\ud8019.eE+-_typvalNIfinty \n', max_size=60))
def test_what_the_standard_library_reads_we_read_the_same(text: str) -> None:
    try:
        expected = stdlib.loads(text)
    except ValueError:
        with pytest.raises(DecodeError):
            json.loads(text)
    else:
        assert stdlib.dumps(json.loads(text)) == stdlib.dumps(expected)
