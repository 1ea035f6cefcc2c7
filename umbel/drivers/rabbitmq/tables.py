"""Message headers between JSON, as messages carry them, and AMQP's field tables.

What a table can hold and JSON cannot becomes text: moments ISO 8601, decimals their digits, byte
arrays base64.

Source:
    AMQP 0-9-1, section 4.2.5.5, with the type letters that RabbitMQ uses.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from struct import Struct, error
from typing import Any

import msgspec

from umbel.exceptions import DecodeError, EncodeError
from umbel.serialization import json
from umbel.serialization.shapes import is_dict, is_list

__all__ = ["decode", "encode"]

_UNSIGNED = Struct(">I")
_pack_size = _UNSIGNED.pack
_size_at = _UNSIGNED.unpack_from
_pack_int = Struct(">ci").pack
_pack_long = Struct(">cq").pack
_pack_double = Struct(">cd").pack
_int_at = Struct(">i").unpack_from
_FIXED = {
    ord(letter): Struct(form)
    for letter, form in (
        *(("t", ">?"), ("b", ">b"), ("B", ">B"), ("s", ">h"), ("U", ">h"), ("u", ">H")),
        *(("I", ">i"), ("i", ">I"), ("l", ">q"), ("L", ">q"), ("f", ">f"), ("d", ">d")),
    )
}
_TEXT, _NOTHING, _INT, _TABLE, _ARRAY = ord("S"), ord("V"), ord("I"), ord("F"), ord("A")
_DECIMAL, _MOMENT, _BYTES = ord("D"), ord("T"), ord("x")
_DEEPEST = 64
_TAIL = b',"id":'


class _Tail(msgspec.Struct, forbid_unknown_fields=True):
    """The headers of our own producers from the id on: those that differ from call to call."""

    id: str
    root_id: str | None
    parent_id: str | None
    group: str | None
    group_index: int | None
    retries: int
    eta: str | None
    expires: str | None
    argsrepr: str
    kwargsrepr: str


_read_tail = msgspec.json.Decoder(_Tail).decode
_write_json = msgspec.json.Encoder().encode


def encode(headers: bytes) -> bytes:
    """The table of a JSON object, with its length in front.

    Raises:
        EncodeError: It is no object, or has what no table can hold: says what.
    """
    start = headers.find(_TAIL)
    if start > 0:
        head = _head(headers[:start])
        if head is not None:
            try:
                tail = _read_tail(b"{" + headers[start + 1 :])
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass
            else:
                fields = head + _tail(tail)
                return _pack_size(len(fields)) + fields
    try:
        document = json.loads(headers)
    except DecodeError as exc:
        raise EncodeError(f"cannot send the headers: {exc}") from exc
    if not is_dict(document):
        raise EncodeError("cannot send the headers: they are not a JSON object.")
    return _table(document, 0)


# Bounded, because task names may be made up.
@lru_cache(maxsize=1024)
def _head(text: bytes) -> bytes | None:
    """The fields of what the headers of a task's calls share; None when this is not such a part."""
    try:
        return _table(msgspec.json.decode(text + b"}", type=dict[str, Any]), 0)[4:]
    except (msgspec.DecodeError, UnicodeDecodeError, EncodeError):
        return None


def _tail(tail: _Tail) -> bytes:
    id_ = _text(tail.id)
    root = id_ if tail.root_id == tail.id else _text(tail.root_id)
    return b"".join(
        (
            b"\x02id",
            id_,
            b"\x07root_id",
            root,
            b"\x09parent_id",
            _text(tail.parent_id),
            b"\x05group",
            _text(tail.group),
            b"\x0bgroup_index",
            b"V" if tail.group_index is None else _integer(tail.group_index),
            b"\x07retries",
            _integer(tail.retries),
            b"\x03eta",
            _text(tail.eta),
            b"\x07expires",
            _text(tail.expires),
            b"\x08argsrepr",
            _text(tail.argsrepr),
            b"\x0akwargsrepr",
            _text(tail.kwargsrepr),
        )
    )


def _text(value: str | None) -> bytes:
    if value is None:
        return b"V"
    encoded = value.encode()
    return b"S" + _pack_size(len(encoded)) + encoded


def _integer(value: int) -> bytes:
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return _pack_int(b"I", value)
    try:
        return _pack_long(b"l", value)
    except error as exc:
        raise EncodeError(f"cannot send a header: AMQP has no integer {value:.3e}.") from exc


def _table(document: dict[str, Any], depth: int) -> bytes:
    if depth > _DEEPEST:
        raise EncodeError("cannot send the headers: they are nested too deeply.")
    fields: list[bytes] = []
    for name, value in document.items():
        try:
            key = name.encode()
        except UnicodeEncodeError as exc:
            raise EncodeError(f"cannot send the header {name!r:.60}: {exc}.") from exc
        if len(key) > 255:
            raise EncodeError(f"cannot send the header {name!r:.60}…: its name is too long.")
        fields += (bytes((len(key),)), key, _value(value, depth))
    joined = b"".join(fields)
    return _pack_size(len(joined)) + joined


def _value(value: Any, depth: int) -> bytes:  # noqa: PLR0911 - one for each type
    try:
        match value:
            case None | str():
                return _text(value)
            case bool():
                return b"t\x01" if value else b"t\x00"
            case int():
                return _integer(value)
            case float():
                return _pack_double(b"d", value)
            case _ if is_dict(value):
                return b"F" + _table(value, depth + 1)
            case _ if is_list(value):
                if depth > _DEEPEST:
                    raise EncodeError("cannot send the headers: they are nested too deeply.")
                items = b"".join([_value(item, depth + 1) for item in value])
                return b"A" + _pack_size(len(items)) + items
            case _:
                # What kombu's JSON tells apart: moments, decimals, bytes; each has its own text.
                return _value(msgspec.to_builtins(value), depth)
    except UnicodeEncodeError as exc:
        raise EncodeError(f"cannot send a header: {exc}.") from exc


_ID = rb"S\x00\x00\x00\x24([0-9A-Za-z-]{36})"
_tail_at = re.compile(
    rb"\x02id" + _ID + rb"\x07root_id" + _ID + rb"\x09parent_id(?:V|" + _ID + rb")"
    rb"\x05group(?:V|" + _ID + rb")\x0bgroup_index(?:V|I(.{4}))\x07retriesI(.{4})"
    rb"\x03etaV\x07expiresV\x08argsreprS(.{4})",
    re.DOTALL,
).match
"""What :func:`_tail` writes of a task that is to run at once."""
_KWARGSREPR = b"\x0akwargsreprS"
_OWN = (
    b'%b,"id":"%b","root_id":"%b","parent_id":%b,"group":%b,"group_index":%b,"retries":%d,'
    b'"eta":null,"expires":null,"argsrepr":%b,"kwargsrepr":%b}'
)


def decode(table: bytes) -> tuple[bytes, object]:
    """The JSON object of a table (without its length), and what it has as ``id``.

    Raises:
        DecodeError: It is no table; says why, in one sentence.
    """
    # Nearly all are of our own producers: two thirds of such a table are known from the last one.
    start = table.find(b"\x02idS")
    if start > 0:
        found = _own(table, start)
        if found is not None:
            return found
    try:
        document = _fields(table, 0, len(table), 0)
    except (IndexError, error) as exc:
        raise DecodeError("the header table ends too early.") from exc
    except UnicodeDecodeError as exc:
        raise DecodeError(f"a header is not UTF-8 text: {exc.reason}.") from exc
    return _write_json(document), document.get("id")


def _own(table: bytes, start: int) -> tuple[bytes, object] | None:
    """What :func:`decode` gives, for headers as our own producers write them; None for others."""
    tail = _tail_at(table, start)
    head = None if tail is None else _head_text(table[:start])
    if tail is None or head is None:
        return None
    id_, root, parent, group, index, retries, length = tail.groups()
    at = tail.end()
    end = at + int.from_bytes(length)
    last = end + len(_KWARGSREPR) + 4
    if table[end : last - 4] != _KWARGSREPR or last + _last_size(table, last) != len(table):
        return None
    try:
        args, kwargs = table[at:end].decode(), table[last:].decode()
    except UnicodeDecodeError:
        return None
    text = _OWN % (
        head,
        id_,
        root,
        b"null" if parent is None else b'"%b"' % parent,
        b"null" if group is None else b'"%b"' % group,
        b"null" if index is None else b"%d" % _int_at(index, 0)[0],
        _int_at(retries, 0)[0],
        _write_json(args),
        _write_json(kwargs),
    )
    return text, id_.decode()


def _last_size(table: bytes, end: int) -> int:
    return int.from_bytes(table[end - 4 : end])


# Bounded, because task names may be made up.
@lru_cache(maxsize=1024)
def _head_text(fields: bytes) -> bytes | None:
    """The JSON of what the headers of a task's calls share, unclosed; None when it is no table, or
    says what the rest says as well."""
    try:
        document = _fields(fields, 0, len(fields), 0)
    except (DecodeError, IndexError, UnicodeDecodeError, error):
        return None
    if document.keys() & _Tail.__struct_fields__:
        return None
    return _write_json(document)[:-1]


def _fields(data: bytes, at: int, end: int, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise DecodeError("the headers are nested too deeply.")
    document: dict[str, Any] = {}
    while at < end:
        start = at + 1
        at = start + data[at]
        name = data[start:at].decode()
        kind = data[at]
        # The two that nearly all headers are, without a call.
        if kind == _TEXT:
            start = at + 5
            at = start + _size_at(data, at + 1)[0]
            document[name] = data[start:at].decode()
        elif kind == _NOTHING:
            document[name] = None
            at += 1
        elif kind == _INT:
            document[name] = _int_at(data, at + 1)[0]
            at += 5
        else:
            document[name], at = _any(data, at, depth)
    if at != end:
        raise DecodeError("the header table ends too early.")
    return document


def _any(data: bytes, at: int, depth: int) -> tuple[Any, int]:  # noqa: PLR0911 - as above
    """The value at a place, and where the next one begins."""
    kind = data[at]
    at += 1
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return fixed.unpack_from(data, at)[0], at + fixed.size
    if kind == _NOTHING:
        return None, at
    if kind == _MOMENT:
        seconds = int.from_bytes(data[at : at + 8])
        try:
            return datetime.fromtimestamp(seconds, UTC).isoformat(), at + 8
        except (OverflowError, ValueError, OSError):
            return seconds, at + 8
    if kind == _DECIMAL:
        return str(Decimal(_int_at(data, at + 1)[0]).scaleb(-data[at])), at + 5
    (size,) = _size_at(data, at)
    at += 4
    end: int = at + size
    if end > len(data):
        raise DecodeError("the header table ends too early.")
    if kind == _TEXT:
        return data[at:end].decode(), end
    if kind == _TABLE:
        return _fields(data, at, end, depth + 1), end
    if kind == _BYTES:
        return data[at:end], end
    if kind != _ARRAY:
        raise DecodeError(f"a header is of the unknown type {chr(kind)!r}.")
    if depth > _DEEPEST:
        raise DecodeError("the headers are nested too deeply.")
    items: list[Any] = []
    while at < end:
        item, at = _any(data, at, depth + 1)
        items.append(item)
    return items, end
