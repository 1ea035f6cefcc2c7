"""Serializers by name; kombu is the peer."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime

import kombu.serialization as kombu
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.exceptions import ContentDisallowed, DecodeError, EncodeError, ImproperlyConfigured
from umbel.serialization import registry

EVERYTHING = registry.content_types(["json", "pickle", "yaml", "msgpack", "raw", "text"])
VALUE = {"a": [1, 2.5, None, True, "é"], "b": {"c": "d"}}


@pytest.mark.parametrize("name", ["json", "pickle", "yaml", "msgpack"])
def test_both_sides_read_what_the_other_writes(name: str) -> None:
    content_type, content_encoding, data = registry.dumps(VALUE, name)
    theirs = kombu.dumps(VALUE, serializer=name)

    assert (content_type, content_encoding) == theirs[:2]
    assert kombu.loads(data, content_type, content_encoding, accept=[content_type]) == VALUE
    written = theirs[2].encode() if isinstance(theirs[2], str) else theirs[2]
    assert registry.loads(written, *theirs[:2], accept=EVERYTHING) == VALUE


@pytest.mark.parametrize(("value", "encoding"), [(b"\xff", "binary"), ("é", "utf-8")])
def test_raw_is_what_it_is(value: object, encoding: str) -> None:
    content_type, content_encoding, data = registry.dumps(value, "raw")

    assert (content_type, content_encoding) == ("application/data", encoding)
    assert registry.loads(data, content_type, content_encoding, accept=EVERYTHING) == value


def test_a_content_type_that_is_not_accepted_is_not_looked_at() -> None:
    bomb = pickle.dumps(Bomb())

    with pytest.raises(ContentDisallowed, match=r"x-python-serialize' \(pickle\)"):
        registry.loads(
            bomb, "application/x-python-serialize", "binary", accept=frozenset({"application/json"})
        )


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.abort, ()


@pytest.mark.parametrize(
    ("content_type", "encoding", "data"),
    [
        ("application/x-yaml", "utf-8", b"!!python/object/apply:os.abort []"),
        ("application/x-yaml", "utf-8", b"a: [1"),
        ("application/x-yaml", "utf-8", b"\xff\xfe\x00"),
        ("application/x-yaml", "utf-8", b"2026-99-99"),
        ("application/x-yaml", "utf-8", b"? [a]\n: 1"),
        ("application/x-yaml", "utf-8", b"!!int ''"),
        ("application/x-yaml", "utf-8", b"!!float x"),
        ("application/x-yaml", "utf-8", b"!!timestamp x"),
        ("application/x-yaml", "utf-8", b"&a [*a]"),
        ("application/x-yaml", "utf-8", b"[" * 100_000),
        ("application/x-msgpack", "binary", b""),
        ("application/x-msgpack", "binary", b"\x91" * 200_000),
        ("application/x-msgpack", "binary", b"\xdd\xff\xff\xff\xff"),
        ("application/x-msgpack", "binary", b"\x81\x80\x01"),
        ("application/x-msgpack", "binary", msgpack.packb(msgpack.ExtType(5, b"x"))),
        ("application/x-python-serialize", "binary", b"junk"),
        ("application/x-python-serialize", "binary", b""),
        ("application/x-python-serialize", "binary", b"\x80\x04cno_module\nx\n."),
        ("text/plain", "utf-8", b"\xff"),
        ("text/plain", "punycode", b"x"),
        ("text/plain", "zlib", b"x"),
    ],
    ids=lambda value: ascii(value[:30]),
)
def test_bad_content_is_a_decode_error(content_type: str, encoding: str, data: bytes) -> None:
    with pytest.raises(DecodeError):
        registry.loads(data, content_type, encoding, accept=EVERYTHING)


def test_yaml_aliases_cannot_multiply() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    merges = ["m0: &m0 {a: 1}"]
    merges += [f"m{n}: &m{n} {{<<: [{','.join([f'*m{n - 1}'] * 10)}]}}" for n in range(1, 12)]

    for bomb in (lines, merges):
        with pytest.raises(DecodeError, match="million"):
            registry.loads(
                "\n".join(bomb).encode(), "application/x-yaml", "utf-8", accept=EVERYTHING
            )


@pytest.mark.parametrize("name", ["json", "yaml", "msgpack"])
def test_what_cannot_be_written_is_named_and_located(name: str) -> None:
    with pytest.raises(EncodeError, match=r"'object' at value\['a'\]\[1\]"):
        registry.dumps({"a": [1, object()]}, name)


@pytest.mark.parametrize("name", ["yaml", "msgpack", "pickle"])
def test_cycles_and_what_pickle_refuses_are_encode_errors(name: str) -> None:
    with pytest.raises(EncodeError):
        registry.dumps([lambda: 1], name)


def test_msgpack_refuses_what_msgspec_would_write_in_its_own_way() -> None:
    for value in ({1, 2}, datetime(2026, 1, 1, tzinfo=UTC), 2**64):
        with pytest.raises(EncodeError):
            registry.dumps(value, "msgpack")


def test_unknown_names_are_configuration_errors() -> None:
    with pytest.raises(ImproperlyConfigured, match="no serializer 'jsn'"):
        registry.serializer("jsn")
    with pytest.raises(DecodeError):
        registry.loads(b"", "application/x-foo", "utf-8", accept=frozenset({"application/x-foo"}))


@pytest.fixture
def shouting() -> Iterator[None]:
    registry.register(
        "shout", lambda value: str(value).upper(), lambda data: data[0], "application/x-shout"
    )
    yield
    registry.unregister("shout")


@pytest.mark.usefixtures("shouting")
def test_a_registered_serializer_is_used_and_its_errors_are_ours() -> None:
    assert registry.dumps("hi", "shout") == ("application/x-shout", "utf-8", b"HI")
    accept = registry.content_types(["shout"])
    assert registry.loads(b"A", "application/x-shout", "utf-8", accept=accept) == 65
    with pytest.raises(DecodeError, match="'shout' cannot decode"):
        registry.loads(b"", "application/x-shout", "utf-8", accept=accept)


@given(st.binary(), st.sampled_from(["application/x-yaml", "application/x-msgpack"]))
def test_arbitrary_bytes_are_a_value_or_a_decode_error(data: bytes, content_type: str) -> None:
    try:
        registry.loads(data, content_type, "binary", accept=EVERYTHING)
    except DecodeError:
        pass


@given(st.text(alphabet="[]{}:,&*!<>-?|'\"\n ab01.~%@`tn", max_size=40))
def test_arbitrary_yaml_is_a_value_or_a_decode_error(text: str) -> None:
    try:
        registry.loads(text.encode(), "application/x-yaml", "utf-8", accept=EVERYTHING)
    except DecodeError:
        pass
