"""The six frames of the hot path: a message out, a message in, acknowledgements both ways.

All other methods go through pamqp; these are written and read here, because a message is worth
ten microseconds, not a hundred.

Source:
    AMQP 0-9-1, sections 1.8.3 (basic) and 4.2 (framing); RabbitMQ's extensions ``basic.nack``
    and publisher confirms.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from struct import Struct, error
from typing import Protocol

from umbel.drivers.rabbitmq import marks, tables
from umbel.exceptions import DecodeError, EncodeError
from umbel.model import Message

__all__ = ["ACK", "DELIVER", "NACK", "Properties", "SettlingFrame"]
__all__ += ["ack", "drop", "id_of", "message_of", "nack", "publication", "requeue", "settled"]

DELIVER, ACK, NACK, PUBLISH = 0x003C003C, 0x003C0050, 0x003C0078, 0x003C0028

_frame = Struct(">BHI").pack
_header = Struct(">BHIHHQH").pack
_method = Struct(">BHII").pack
_pack_ack = Struct(">BHIIQBB").pack
_long_at = Struct(">Q").unpack_from
_size_at = Struct(">I").unpack_from
_flags_at = Struct(">H").unpack_from
_END = b"\xce"

_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE = 1 << 15, 1 << 14, 1 << 13, 1 << 12
_PRIORITY, _CORRELATION_ID, _REPLY_TO, _EXPIRATION = 1 << 11, 1 << 10, 1 << 9, 1 << 8
_ALWAYS = (
    _CONTENT_TYPE | _CONTENT_ENCODING | _HEADERS | _DELIVERY_MODE | _PRIORITY | _CORRELATION_ID
)
# Those after the expiration, in their order, all short strings but the timestamp.
_RARE = (
    ("message_id", 1 << 7),
    ("timestamp", 1 << 6),
    ("type", 1 << 5),
    ("user_id", 1 << 4),
    ("app_id", 1 << 3),
    ("cluster_id", 1 << 2),
)
_RARE_FLAGS = 0xFC


@lru_cache(maxsize=4096)
def short(text: str) -> bytes:
    """A short string.

    Raises:
        EncodeError: It has more than 255 bytes, or is no text.
    """
    try:
        encoded = text.encode()
    except UnicodeEncodeError as exc:
        raise EncodeError(f"cannot send {text!r:.60}: {exc}.") from exc
    if len(encoded) > 255:
        raise EncodeError(f"cannot send {text!r:.60}…: AMQP allows 255 bytes, it has more.")
    return bytes((len(encoded),)) + encoded


@lru_cache(maxsize=4096)
def _publish(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    """The method frame of a publication; of a mandatory one, what reaches no queue comes back."""
    arguments = b"\x00\x00" + short(exchange) + short(routing_key) + bytes((mandatory,))
    return _method(1, channel, 4 + len(arguments), PUBLISH) + arguments + _END


def publication(
    channel: int,
    frame_limit: int,
    message: Message,
    *,
    expiration: str | None,
    mandatory: bool = True,
) -> bytes:
    """The frames that publish a message.

    Args:
        frame_limit: The most bytes of a body in one frame.
        mandatory: Whether what reaches no queue comes back; it is dropped otherwise.

    Raises:
        EncodeError: AMQP cannot carry it; says why.
    """
    body = message.body
    properties = message.properties
    priority = message.priority or 0
    flags = _ALWAYS
    mode = properties.get("delivery_mode", 2) if properties else 2
    rest = b""
    if message.reply_to:
        flags |= _REPLY_TO
        rest = short(message.reply_to)
    if expiration is not None:
        flags |= _EXPIRATION
        rest += short(expiration)
    if properties and len(properties) > ("delivery_mode" in properties):
        for name, flag in _RARE:
            value = properties.get(name)
            if value is not None:
                flags |= flag
                rest += _rare(name, value)
    correlation_id = (message.correlation_id or message.id).encode(errors="replace")
    if len(correlation_id) > 255:
        raise EncodeError("cannot send the message: its correlation id has more than 255 bytes.")
    values = b"".join(
        (
            short(message.content_type),
            short(message.content_encoding),
            tables.encode(message.headers),
            b"\x01" if mode == 1 else b"\x02",
            bytes((min(max(priority, 0), 255), len(correlation_id))),
            correlation_id,
            rest,
        )
    )
    size = len(body)
    header = _header(2, channel, 14 + len(values), 60, 0, size, flags)
    if len(values) + 14 > frame_limit:
        raise EncodeError(f"cannot send the message: its headers have {len(values)} bytes.")
    start = _publish(channel, message.exchange, message.routing_key, mandatory)
    if 0 < size <= frame_limit:
        return b"".join((start, header, values, _END, _frame(3, channel, size), body, _END))
    parts = [start, header, values, _END]
    for at in range(0, size, frame_limit):
        chunk = body[at : at + frame_limit]
        parts += (_frame(3, channel, len(chunk)), chunk, _END)
    return b"".join(parts)


def _rare(name: str, value: object) -> bytes:
    if name != "timestamp":
        return short(str(value))
    try:
        return int(str(value)).to_bytes(8)
    except (ValueError, OverflowError) as exc:
        raise EncodeError(f"cannot send the timestamp {value!r:.60}.") from exc


def ack(channel: int, tag: int, *, multiple: bool = False) -> bytes:
    """The frame that acknowledges a delivery, or all up to it."""
    return _pack_ack(1, channel, 13, ACK, tag, multiple, 0xCE)


def nack(channel: int, tag: int, *, multiple: bool = False, requeue: bool) -> bytes:
    """The frame that gives a delivery back, or all up to it, or drops them."""
    return _pack_ack(1, channel, 13, NACK, tag, multiple | requeue << 1, 0xCE)


class SettlingFrame(Protocol):
    """Makes the frame that settles a delivery, or all up to it."""

    def __call__(self, channel: int, tag: int, *, multiple: bool = False) -> bytes:
        """As :func:`ack`."""
        ...


requeue: SettlingFrame = partial(nack, requeue=True)
drop: SettlingFrame = partial(nack, requeue=False)


def settled(channel: int, tags: Sequence[int], oldest: int | None, frame: SettlingFrame) -> bytes:
    """The fewest frames that settle these deliveries.

    A classic queue takes seconds for some thousands that come back one by one.

    Args:
        oldest: The lowest tag that is still held, and not among them; None: nothing is.
    """
    # Everything older than that is settled by one frame.
    older = [tag for tag in tags if oldest is None or tag < oldest]
    frames = [frame(channel, max(older), multiple=True)] if older else []
    if oldest is not None and len(older) < len(tags):
        frames += [frame(channel, tag) for tag in tags if tag > oldest]
    return b"".join(frames)


class Properties:
    """The properties of a message as they came."""

    __slots__ = ("fields", "headers", "id")

    def __init__(self, header: bytes) -> None:
        """Read them.

        Args:
            header: The payload of a content header frame.

        Raises:
            DecodeError: They cannot be read; says why, in one sentence.
        """
        self.headers = b"{}"
        self.id: object = None
        self.fields: dict[str, object] = {}
        try:
            self._read(header)
        except (IndexError, error) as exc:
            raise DecodeError("the properties of the message end too early.") from exc
        except UnicodeDecodeError as exc:
            raise DecodeError(f"a property of the message is not text: {exc.reason}.") from exc

    def _read(self, header: bytes) -> None:
        (flags,) = _flags_at(header, 12)
        fields = self.fields
        at = 14
        if flags & _CONTENT_TYPE:
            end = at + 1 + header[at]
            fields["content_type"] = header[at + 1 : end].decode()
            at = end
        if flags & _CONTENT_ENCODING:
            end = at + 1 + header[at]
            fields["content_encoding"] = header[at + 1 : end].decode()
            at = end
        if flags & _HEADERS:
            end = at + 4 + _size_at(header, at)[0]
            if end > len(header):
                raise DecodeError("the header table ends too early.")
            self.headers, self.id = tables.decode(header[at + 4 : end])
            at = end
        if flags & _DELIVERY_MODE:
            fields["delivery_mode"] = header[at]
            at += 1
        if flags & _PRIORITY:
            fields["priority"] = header[at]
            at += 1
        if flags & _CORRELATION_ID:
            end = at + 1 + header[at]
            fields["correlation_id"] = header[at + 1 : end].decode()
            at = end
        if flags & _REPLY_TO:
            end = at + 1 + header[at]
            fields["reply_to"] = header[at + 1 : end].decode()
            at = end
        if flags & _EXPIRATION:
            end = at + 1 + header[at]
            fields["expiration"] = header[at + 1 : end].decode()
            at = end
        if flags & _RARE_FLAGS:
            self._read_rare(header, at, flags)

    def _read_rare(self, header: bytes, at: int, flags: int) -> None:
        for name, flag in _RARE:
            if not flags & flag:
                continue
            if name == "timestamp":
                self.fields[name] = _long_at(header, at)[0]
                at += 8
            else:
                end = at + 1 + header[at]
                self.fields[name] = header[at + 1 : end].decode()
                at = end


def id_of(header: bytes) -> str:
    """The id that a message has, by its content header; empty when it cannot be read."""
    try:
        return str(Properties(header).fields.get("correlation_id", ""))
    except DecodeError:
        return ""


def message_of(exchange: str, routing_key: str, header: bytes, body: bytes) -> Message:
    """The message that came.

    Raises:
        DecodeError: Its properties cannot be read; says why, in one sentence.
    """
    properties = Properties(header)
    take = properties.fields.pop
    correlation_id = take("correlation_id", None)
    extras = properties.fields
    content_type = take("content_type", "application/data")
    content_encoding = take("content_encoding", "binary")
    priority = take("priority", None)
    reply_to = take("reply_to", None)
    if extras.get("delivery_mode") == 2:
        del extras["delivery_mode"]
    own = properties.id
    headers = properties.headers
    if marks.has_waited(header):
        headers = marks.without_marks(headers)
    return Message(
        id=own if type(own) is str else str(correlation_id or ""),
        body=body,
        content_type=content_type,  # type: ignore[arg-type]  # short strings, by their flags
        content_encoding=content_encoding,  # type: ignore[arg-type]
        headers=headers,
        correlation_id=correlation_id,  # type: ignore[arg-type]
        reply_to=reply_to or None,  # type: ignore[arg-type]
        properties=extras,
        exchange=exchange,
        routing_key=routing_key,
        priority=priority,  # type: ignore[arg-type]  # an octet
    )
