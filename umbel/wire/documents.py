"""Documents in result backends, as bytes: compression in band, states at a glance, groups.

Source:
    Celery 5.7, ``result_compression``: payloads that say themselves how they are compressed;
    ``celery-taskset-meta``: observed on Redis.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from umbel.exceptions import DecodeError, SecurityError
from umbel.protocols.serializer import Serializer
from umbel.serialization import json, registry
from umbel.serialization.compression import DEFAULT_LIMIT, compress, decompress
from umbel.serialization.shapes import is_dict, is_list

__all__ = [
    "decode_group",
    "encode_group",
    "peek_state",
    "read_document",
    "reformed",
    "sealed",
    "unsealed",
]

_MAGIC = b"\0celery-compressed\0"
_LONGEST_MIME = 100
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_YAML_STATUS = re.compile(rb"^status: ['\"]?([^\s'\"]+)['\"]?\s*$", re.MULTILINE)


_SIGNED = re.compile(rb"[A-Za-z0-9+/]{64,}={0,2}")


class _Status(msgspec.Struct):
    status: str


_read_status = msgspec.json.Decoder(_Status).decode
_read_packed_status = msgspec.msgpack.Decoder(_Status).decode


def sealed(compressed: bytes, mime: str) -> bytes:
    """A compressed document, marked as such."""
    return b"%b%b\0%b" % (_MAGIC, mime.encode("ascii"), compressed)


def read_document(
    body: bytes, serializer: Serializer, *, accept: frozenset[str], limit: int
) -> dict[str, Any]:
    """The document in a stored body: a mapping, or a chord's part (``umbel.wire.parts``).

    Compression is always recognised, and so is JSON or pickle where the backend has since been
    given another serializer.

    Raises:
        ContentDisallowed: It is in a form that is not accepted.
        TooLarge: It unpacks to more than ``limit`` bytes.
        DecodeError: It is no document.
    """
    body = unsealed(body, limit)
    content_type = _content_type(body, serializer)
    document = registry.loads(body, content_type, serializer.content_encoding, accept=accept)
    if is_list(document) and len(document) == 4 and document[0] == 1:
        return dict(zip(("task_id", "status", "result"), document[1:], strict=True))
    if not is_dict(document):
        raise DecodeError(f"result: it is of type {type(document).__name__}, not a mapping.")
    return document


def peek_state(body: bytes, *, limit: int = DEFAULT_LIMIT) -> str:
    """The state in a stored body, in whichever form; runs nothing, whoever wrote it.

    Raises:
        TooLarge: It unpacks to more than ``limit`` bytes.
        DecodeError: It has no state.
    """
    body = unsealed(body, limit)
    try:
        if body[:1] == b"{":
            return _read_status(body).status
        if _PICKLE.match(body):
            return _status_in_pickle(body)
        if found := _YAML_STATUS.search(body):
            return found[1].decode("utf-8")
        if _SIGNED.fullmatch(body):
            return _status_in_signed(body, limit)
        return _read_packed_status(body).status
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _status_carefully(body)


def encode_group(
    group_id: str, parent: object, members: Sequence[object], *, serializer: str = "json"
) -> bytes:
    """The ``celery-taskset-meta`` document of a group.

    Args:
        parent: The result tuple of what came before, or None.
        members: The members' result tuples, ``[[id, parent], members]``, in order.

    Raises:
        EncodeError: A tuple cannot be written.
    """
    document = {"result": [[group_id, parent], list(members)]}
    return registry.serializer(serializer).dumps(document)


def decode_group(
    body: bytes,
    *,
    serializer: str = "json",
    accept: frozenset[str] | None = None,
    limit: int = DEFAULT_LIMIT,
) -> tuple[str, Any, list[Any]]:
    """A group's id, its parent's result tuple, and its members' result tuples.

    Raises:
        ContentDisallowed: It is in a form that is not accepted.
        TooLarge: It unpacks to more than ``limit`` bytes.
        DecodeError: It is no group.
    """
    chosen = registry.serializer(serializer)
    if accept is None:
        accept = frozenset({chosen.content_type})
    document = read_document(body, chosen, accept=accept, limit=limit)
    result: Any = document.get("result")
    if is_list(result) and len(result) == 2:
        head, members = result
        if is_list(head) and len(head) == 2 and isinstance(head[0], str) and is_list(members):
            return head[0], head[1], list(members)
    raise DecodeError("group: it is not [[id, parent], members].")


def reformed(body: bytes, change: Callable[[Any], object], *, limit: int = DEFAULT_LIMIT) -> bytes:
    """A stored body with its document changed, in the form that it had: to be used only on what
    this process, or a child of it, has written.

    Raises:
        DecodeError: It is no document.
    """
    plain = unsealed(body, limit)
    serializer = registry.serializer(_form(plain))
    changed = serializer.dumps(change(serializer.loads(plain)))
    if plain is body:
        return changed
    mime = body[len(_MAGIC) : body.index(b"\0", len(_MAGIC))].decode("ascii")
    return sealed(*compress(changed, mime))


def _form(body: bytes) -> str:
    if body[:1] == b"{":
        return "json"
    if _PICKLE.match(body):
        return "pickle"
    if _SIGNED.fullmatch(body):
        return "auth"
    return "yaml" if _YAML_STATUS.search(body) else "msgpack"


def unsealed(body: bytes, limit: int) -> bytes:
    """The document in a body that may be compressed.

    Raises:
        TooLarge: It unpacks to more than ``limit`` bytes.
        DecodeError: It is damaged.
    """
    if not body.startswith(_MAGIC):
        return body
    end = body.find(b"\0", len(_MAGIC), len(_MAGIC) + _LONGEST_MIME)
    if end < 0:
        raise DecodeError("result: it is compressed, and does not say how.")
    mime = body[len(_MAGIC) : end].decode("ascii", "replace")
    unpacked = decompress(body[end + 1 :], mime, limit=limit)
    if unpacked.startswith(_MAGIC):
        raise DecodeError("result: it is compressed more than once.")
    return unpacked


def _content_type(body: bytes, serializer: Serializer) -> str:
    """What the body is in: what it looks like, where that is beyond doubt."""
    if serializer.name != "pickle" and _PICKLE.match(body) and body.endswith(b"."):
        return "application/x-python-serialize"
    if serializer.name in ("pickle", "msgpack") and body.startswith(b'{"'):
        return "application/json"
    return serializer.content_type


def _status_in_signed(body: bytes, limit: int) -> str:
    """Of a document in the ``auth`` serializer's form. The signature is for who reads the rest:
    what a state is needed for here is not to replace a final one."""
    try:
        inner = b64decode(body, validate=True).split(b"\0\1", maxsplit=4)[4]
    except (ValueError, IndexError) as error:
        raise DecodeError("result: it has no status.") from error
    if _SIGNED.fullmatch(inner):
        raise DecodeError("result: it is signed more than once.")
    return peek_state(inner, limit=limit)


def _status_in_pickle(body: bytes) -> str:
    """The string that follows the key ``status``; pickletools reads without running."""
    # pickletools costs 5 ms to import; few results are pickles.
    import pickletools

    try:
        follows = False
        for opcode, argument, _ in pickletools.genops(body):
            if isinstance(argument, str) and "UNICODE" in opcode.name:
                if follows:
                    return argument
                follows = argument == "status"
    except ValueError as error:
        raise DecodeError(f"result: it is no pickle: {error}.") from error
    raise DecodeError("result: it has no status.")


def _status_carefully(body: bytes) -> str:
    """For JSON that msgspec refuses: NaN, lone surrogates."""
    try:
        document = json.loads(body)
        if is_dict(document) and isinstance(document.get("status"), str):
            return str(document["status"])
    except (DecodeError, SecurityError) as error:
        raise DecodeError(f"result: it is unreadable: {error}") from error
    raise DecodeError("result: it has no status.")
