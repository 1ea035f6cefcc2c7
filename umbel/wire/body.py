"""What a task is called with, as it travels in the body of its message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from umbel.exceptions import InvalidTaskError
from umbel.model import Message
from umbel.serialization import registry
from umbel.serialization.compression import decompress
from umbel.serialization.shapes import is_dict, is_list
from umbel.wire import headers

__all__ = ["Body", "check_signature", "check_signatures", "from_document", "from_sequence", "load"]


_NOTHING: Any = {}


class Body(msgspec.Struct, frozen=True):
    """Arguments, and what is to happen afterwards. Signatures are mappings."""

    args: list[Any]
    kwargs: dict[str, Any]
    callbacks: list[Any] | None = None
    errbacks: list[Any] | None = None
    chain: list[Any] | None = None
    """Reversed: the last one runs next."""
    chord: Any = None
    """The signature of the chord's body."""


def load(message: Message, *, accept: frozenset[str], limit: int) -> object:
    """The body of a message, decompressed and decoded.

    Raises:
        ContentDisallowed: The content type is not among ``accept``.
        TooLarge: It unpacks to more than ``limit`` bytes.
        DecodeError: It cannot be decompressed or decoded.
    """
    data = message.body
    mime = headers.compression(message)
    if mime is not None and message.content_type in accept:
        data = decompress(data, mime, limit=limit)
    return registry.loads(data, message.content_type, message.content_encoding, accept=accept)


def from_sequence(document: Any) -> Body:
    """The body of protocol 2: ``[args, kwargs, embed]``.

    Raises:
        InvalidTaskError: It is something else.
    """
    if not is_list(document):
        raise InvalidTaskError(
            f"the body is of type {type(document).__name__}, not [args, kwargs, embed]."
        )
    if len(document) != 3:
        count = len(document)
        raise InvalidTaskError(f"the body has {count} elements, not [args, kwargs, embed].")
    args, kwargs, embed = document
    embed = _NOTHING if embed is None else embed
    if not is_dict(embed):
        raise InvalidTaskError(f"the body's embed is of type {_kind(embed)}, not a mapping.")
    return _body(args, kwargs, embed, chain=_get(embed, "chain"))


def from_document(document: Mapping[Any, Any]) -> Body:
    """The body of protocol 1, and of hybrids: a mapping.

    Raises:
        InvalidTaskError: Something in it is not what it should be.
    """
    args, kwargs = document.get("args"), document.get("kwargs")
    return _body(
        () if args is None else args, _NOTHING if kwargs is None else kwargs, document, chain=None
    )


def _body(args: Any, kwargs: Any, embed: Any, *, chain: Any) -> Body:
    if not is_list(args):
        raise InvalidTaskError(f"args is of type {_kind(args)}, not a list.")
    if not is_dict(kwargs):
        raise InvalidTaskError(f"kwargs is of type {_kind(kwargs)}, not a mapping.")
    for key in kwargs:
        if not isinstance(key, str):
            raise InvalidTaskError(f"kwargs has a key of type {_kind(key)}, not a string.")
    chord = _get(embed, "chord")
    if chord is not None:
        check_signature("chord", chord)
    return Body(
        args=list(args),
        kwargs=dict(kwargs),
        callbacks=_signatures("callbacks", _get(embed, "callbacks")),
        errbacks=_signatures("errbacks", _get(embed, "errbacks")),
        chain=_signatures("chain", chain),
        chord=chord,
    )


def check_signatures(name: str, values: list[dict[str, Any]] | None) -> None:
    """Raise InvalidTaskError unless each value names a task."""
    for value in values or ():
        check_signature(name, value)


def _signatures(name: str, value: Any) -> list[Any] | None:
    if value is None:
        return None
    if not is_list(value):
        raise InvalidTaskError(f"{name} is of type {_kind(value)}, not a list of signatures.")
    for signature in value:
        check_signature(name, signature)
    return list(value)


def check_signature(name: str, value: Any) -> None:
    """Raise InvalidTaskError unless the value is a mapping that names a task."""
    if not is_dict(value):
        raise InvalidTaskError(f"{name} holds a value of type {_kind(value)}, not a signature.")
    if not isinstance(_get(value, "task"), str):
        raise InvalidTaskError(f"{name} holds a signature without a task name.")


def _get(mapping: Any, key: str) -> Any:
    return mapping.get(key)


def _kind(value: object) -> str:
    return type(value).__name__
