"""Exceptions as data, both ways, without running anything.

An exception is its class's name and module and its arguments. Ours travel under the names that
Celery gives the same exceptions, so that either side catches what the other raised.

Source:
    Celery reference, ``celery.backends.base``: ``prepare_exception``, ``exception_to_python``.
    CVE-2021-23727: names that arrive are looked up, never imported, and must be exceptions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from umbel import exceptions
from umbel.exceptions import DecodeError, EncodeError, SecurityError
from umbel.serialization import json
from umbel.serialization.shapes import is_dict, is_list
from umbel.utils.saferepr import saferepr

__all__ = ["OURS", "UNKNOWN_MODULE", "decode", "encode", "writable"]

UNKNOWN_MODULE = "umbel.wire.errors.unknown"
"""The module of exceptions whose own module is not imported here. There is no such module."""

_LONGEST_NAME = 255
_LONGEST_ARGUMENT = 10_000

OURS = exceptions.__name__
"""The module of the exceptions that travel under Celery's names."""
_PEER_BY_NAME = {
    **dict.fromkeys(
        (
            "AlreadyRegistered",
            "BackendError",
            "BackendGetMetaError",
            "BackendStoreError",
            "CeleryError",
            "ChordError",
            "Ignore",
            "ImproperlyConfigured",
            "IncompleteStream",
            "InvalidTaskError",
            "MaxRetriesExceededError",
            "NotRegistered",
            "QueueNotFound",
            "Reject",
            "Retry",
            "SecurityError",
            "TaskError",
            "TaskPredicate",
            "TaskRevokedError",
            "TimeoutError",
            "WorkerShutdown",
            "WorkerTerminate",
        ),
        "celery.exceptions",
    ),
    **dict.fromkeys(
        ("SoftTimeLimitExceeded", "Terminated", "TimeLimitExceeded", "WorkerLostError"),
        "billiard.exceptions",
    ),
    **dict.fromkeys(
        ("ContentDisallowed", "DecodeError", "EncodeError", "OperationalError"),
        "kombu.exceptions",
    ),
}
_PEERS = frozenset(_PEER_BY_NAME.values())


def encode(
    exc: BaseException, *, dumps: Callable[[object], object] = json.dumps
) -> dict[str, object]:
    """The exception as ``{"exc_type", "exc_message", "exc_module"}``.

    Causes and notes are in the traceback's text, not here. Never raises: arguments that cannot
    be written are written as their ``repr``.

    Args:
        dumps: The serializer that will write it; raises EncodeError for what it cannot write.
    """
    cls = type(exc)
    name, module = cls.__qualname__, cls.__module__
    if module == OURS:
        name = "CeleryError" if cls is exceptions.UmbelError else name
        module = _PEER_BY_NAME.get(name, module)
    return {"exc_type": name, "exc_message": _arguments(exc, dumps), "exc_module": module}


def decode(data: object) -> BaseException:
    """The exception that ``data`` stands for.

    The class is the one of that name in a module that is already imported, or one made for the
    occasion, of that name, in :data:`UNKNOWN_MODULE`. Where the class refuses the arguments it
    is a plain ``Exception`` that says so.

    Raises:
        SecurityError: The name is that of something which is no exception.
        DecodeError: The data is not what :func:`encode` makes.
    """
    if isinstance(data, BaseException):
        return data
    if not is_dict(data):
        raise DecodeError(f"an exception cannot be a {type(data).__name__}.")
    document = data
    name = document.get("exc_type")
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
        raise DecodeError("an exception without a name: exc_type is missing, or no short string.")
    message = document.get("exc_message", "")
    arguments = _as_arguments(message)
    cls = _known(document.get("exc_module"), name, message) or _made(name)
    try:
        return cls(*arguments)
    except Exception:  # noqa: BLE001 - the constructor is user code
        return Exception(f"{cls!r}({saferepr(list(arguments))})")


def _arguments(exc: BaseException, dumps: Callable[[object], object]) -> list[object]:
    try:
        arguments = exc.args
    except Exception:  # noqa: BLE001 - args may be a property of a user's class
        return []
    return [writable(argument, dumps) for argument in arguments]


def writable(argument: object, dumps: Callable[[object], object]) -> object:
    """The argument, or its ``repr`` when the serializer cannot write it."""
    try:
        dumps(argument)
    except EncodeError:
        return saferepr(argument, maxlen=_LONGEST_ARGUMENT)
    return argument


def _as_arguments(message: object) -> tuple[Any, ...]:
    if is_list(message):
        return tuple(message)
    return (message,)


def _known(module_name: object, name: str, message: object) -> type[BaseException] | None:
    """The exception class of that name, if its module is imported and has it."""
    if not isinstance(module_name, str):
        return None
    if module_name in _PEERS and name in vars(exceptions):
        module_name = OURS
    found: object = sys.modules.get(module_name)
    if not isinstance(found, ModuleType):
        return None
    for part in name.split("."):
        # Not getattr: a module's __getattr__ may import, a descriptor may compute.
        if not isinstance(found, ModuleType | type):
            return None
        found = found.__dict__.get(part)
    if found is None:
        return None
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    raise SecurityError(
        f"expected an exception class, got {module_name}.{name} with {saferepr(message):.200}."
    )


def _made(name: str) -> type[BaseException]:
    """A class for an exception that is not known here."""
    printable = name if name.isprintable() else "Unprintable"
    short = printable.rpartition(".")[2] or printable
    return type(short, (Exception,), {"__module__": UNKNOWN_MODULE, "__qualname__": printable})
