"""kombu's JSON envelope: a message as brokers without AMQP carry it.

Source:
    kombu reference, "virtual transports"; shape observed with kombu 5.7 on Redis.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from umbel.exceptions import DecodeError, EncodeError
from umbel.model import Message
from umbel.serialization import json
from umbel.serialization.shapes import is_dict

__all__ = ["ENCLOSED", "decode", "encode"]

ENCLOSED: Final = object()
"""The ``body_encoding`` among the properties of a message whose body is text that stands already as
between the quotes of a string of JSON. Its envelope has none: the text is there without base64."""

_quote: Callable[[str | bytes], bytes] = msgspec.json.Encoder().encode
"""Text as a JSON string; bytes as one that holds their base64, twice as fast as binascii's."""

_HIGHEST_PRIORITY = 255
_TEXT = (None, "utf-8")
"""Encodings of bodies that are the text itself."""
_NOTHING: Mapping[str, object] = {}
_KNOWN = frozenset(
    {
        "correlation_id",
        "reply_to",
        "delivery_info",
        "priority",
        "body_encoding",
        "delivery_tag",
    }
)


class _Place(msgspec.Struct, forbid_unknown_fields=True):
    exchange: str = ""
    routing_key: str = ""


class _Properties(msgspec.Struct, forbid_unknown_fields=True):
    delivery_info: _Place
    body_encoding: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    delivery_mode: int = 2
    priority: int | None = None
    delivery_tag: str | None = None
    expiration: str | None = None


class _Envelope(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    """The shape that producers write; anything else takes the careful path."""

    body: bytes
    headers: msgspec.Raw
    properties: _Properties
    content_type: str
    content_encoding: str


class _TextEnvelope(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    """The shape of those whose body is :data:`ENCLOSED`."""

    body: str
    headers: msgspec.Raw
    properties: _Properties
    content_type: str
    content_encoding: str


class _Identified(msgspec.Struct):
    id: str | None = None


_read = msgspec.json.Decoder(_Envelope).decode
_read_text = msgspec.json.Decoder(_TextEnvelope).decode
_read_id = msgspec.json.Decoder(_Identified).decode


def encode(message: Message, *, delivery_tag: str) -> bytes:
    """The envelope of a message.

    Args:
        delivery_tag: Unique for every envelope; kombu's consumers keep their books by it.

    Raises:
        EncodeError: A property cannot be written.
    """
    properties = message.properties
    if properties and properties.get("body_encoding") is ENCLOSED:
        mark, body, encoding = b'"', message.body, b""
    else:
        mark, body, encoding = b"", _quote(message.body), b'"body_encoding":"base64",'
    try:
        return (
            b'{"body":%b%b%b,"content-encoding":%b,"content-type":%b,"headers":%b,"properties":'
            b'{"correlation_id":%b,"reply_to":%b,%b"delivery_info":%b,"priority":%d,'
            b'%b"delivery_tag":%b}}'
        ) % (
            mark,
            body,
            mark,
            _name(message.content_encoding),
            _name(message.content_type),
            message.headers,
            _quote(message.correlation_id or message.id),
            _name(message.reply_to or ""),
            _extras(properties) if properties else b'"delivery_mode":2,',
            _place(message.exchange, message.routing_key)
            if "delivery_info" not in properties
            else _full_place(message),
            message.priority or 0,
            encoding,
            _quote(delivery_tag),
        )
    except UnicodeEncodeError as error:
        raise EncodeError(f"cannot encode an id or name of the message: {error}.") from error


def decode(raw: bytes) -> Message:
    """The message in an envelope; its headers stay the bytes they are.

    The id is the header's, or the correlation id where there is none (protocol 1). Properties
    that are no fields of a message are kept in ``properties``: ``expiration``, ``delivery_mode``
    when it is not 2, and ``delivery_info`` when it says more than exchange and routing key.

    Raises:
        DecodeError: It is no envelope; says why, in one sentence.
    """
    try:
        envelope: _Envelope | _TextEnvelope = _read(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            envelope = _read_text(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _decode_carefully(raw)
    properties, body = envelope.properties, envelope.body
    headers = bytes(envelope.headers)
    if headers[:1] != b"{":
        return _decode_carefully(raw)
    if isinstance(body, str):
        if properties.body_encoding not in _TEXT:
            return _decode_carefully(raw)
        body = body.encode()
    elif properties.body_encoding != "base64":
        return _decode_carefully(raw)
    extras = _NOTHING
    if properties.expiration is not None or properties.delivery_mode != 2:
        extras = _extras_of(properties)
    place, priority = properties.delivery_info, properties.priority
    return Message(
        id=_id(headers, properties.correlation_id),
        body=body,
        content_type=envelope.content_type,
        content_encoding=envelope.content_encoding,
        headers=headers,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to or None,
        properties=extras,
        exchange=place.exchange,
        routing_key=place.routing_key,
        priority=_priority(priority) if priority else priority,
    )


def _extras_of(properties: _Properties) -> Mapping[str, object]:
    extras: dict[str, object] = {}
    if properties.expiration is not None:
        extras["expiration"] = properties.expiration
    if properties.delivery_mode != 2:
        extras["delivery_mode"] = properties.delivery_mode
    return extras


# Bounded, because reply addresses and routing keys may be made up.
@lru_cache(maxsize=1024)
def _name(text: str) -> bytes:
    return _quote(text)


@lru_cache(maxsize=1024)
def _place(exchange: str, routing_key: str) -> bytes:
    return json.dumps({"exchange": exchange, "routing_key": routing_key})


def _full_place(message: Message) -> bytes:
    given = message.properties["delivery_info"]
    own = {"exchange": message.exchange, "routing_key": message.routing_key}
    return json.dumps({**given, **own} if is_dict(given) else own)


def _extras(properties: Mapping[str, object]) -> bytes:
    extras: dict[str, object] = {"delivery_mode": 2}
    extras.update((name, value) for name, value in properties.items() if name not in _KNOWN)
    return json.dumps(extras)[1:-1] + b","


def _id(headers: bytes, correlation_id: str | None) -> str:
    """The task id; mostly the correlation id, which is cheaper to see than to look up."""
    if correlation_id:
        quoted = _quote(correlation_id)
        # Compact, as we write it; spaced, as kombu does.
        if b'"id":' + quoted in headers or b'"id": ' + quoted in headers:
            return correlation_id
    try:
        return _read_id(headers).id or correlation_id or ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The headers are for wire.tasks to judge; the message is known by what it answers to.
        return correlation_id or ""


def _priority(value: int | None) -> int | None:
    return None if value is None else min(max(value, 0), _HIGHEST_PRIORITY)


def _decode_carefully(raw: bytes) -> Message:
    """What :func:`decode` does, field by field: for rare shapes, and to say what is wrong."""
    try:
        envelope = json.loads(raw)
    except DecodeError as error:
        raise DecodeError(f"the envelope is unreadable: {error}") from error
    if not is_dict(envelope):
        raise DecodeError(f"the envelope is of type {type(envelope).__name__}, not an object.")
    properties = _mapping(envelope, "properties", "the properties")
    place = _mapping(properties, "delivery_info", "delivery_info")
    headers = json.dumps(_mapping(envelope, "headers", "the headers"))
    correlation_id = _text(properties, "correlation_id")
    priority = properties.get("priority")
    if priority is not None and type(priority) is not int:
        raise DecodeError(f"priority is of type {type(priority).__name__}, not an integer.")
    extras = {name: value for name, value in properties.items() if name not in _KNOWN}
    if extras.get("delivery_mode") == 2:
        del extras["delivery_mode"]
    if place.keys() - {"exchange", "routing_key"}:
        extras["delivery_info"] = {
            name: value for name, value in place.items() if name not in ("exchange", "routing_key")
        }
    return Message(
        id=_id(headers, correlation_id),
        body=_body(envelope, properties),
        content_type=_text(envelope, "content-type") or "application/data",
        content_encoding=_text(envelope, "content-encoding") or "binary",
        headers=headers,
        correlation_id=correlation_id,
        reply_to=_text(properties, "reply_to") or None,
        properties=extras,
        exchange=_text(place, "exchange") or "",
        routing_key=_text(place, "routing_key") or "",
        priority=_priority(priority),
    )


def _mapping(document: dict[str, Any], field: str, name: str) -> dict[str, Any]:
    value = document.get(field)
    if value is None:
        return {}
    if not is_dict(value):
        raise DecodeError(f"{name} are of type {type(value).__name__}, not a mapping.")
    return value


def _text(document: dict[str, Any], field: str) -> str | None:
    value = document.get(field)
    if value is None:
        return None
    if type(value) is not str:
        raise DecodeError(f"{field} is of type {type(value).__name__}, not a string.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DecodeError(f"{field} is not text: {error}.") from error
    return value


def _body(envelope: dict[str, Any], properties: dict[str, Any]) -> bytes:
    body = envelope.get("body")
    if type(body) is not str:
        raise DecodeError(f"the body is of type {type(body).__name__}, not a string.")
    encoding = properties.get("body_encoding")
    try:
        if encoding is None or encoding == "utf-8":
            return body.encode("utf-8")
        if encoding == "base64":
            return binascii.a2b_base64(body.encode("ascii"), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise DecodeError(f"the body is not {encoding or 'text'}: {error}.") from error
    raise DecodeError(f"the body has an unknown encoding, {encoding!r:.80}.")
