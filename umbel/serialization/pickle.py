"""pickle, for those who trust everyone who can write to their broker.

Loading a pickle runs whatever code it names. Nothing here is reached unless ``accept_content``
or ``result_accept_content`` names ``pickle``.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

from umbel import exceptions
from umbel.exceptions import DecodeError, EncodeError

__all__ = ["dumps", "loads"]

_PROTOCOL = 4
"""What kombu writes; every supported Python reads it."""

_PEERS = frozenset({"celery", "billiard", "kombu"})


def dumps(value: object) -> bytes:
    """The value as a pickle.

    Raises:
        EncodeError: Says what pickle said.
    """
    try:
        return pickle.dumps(value, protocol=_PROTOCOL)
    except Exception as error:
        raise EncodeError(f"cannot encode as a pickle: {_sentence(error)}.") from error


def loads(data: bytes) -> object:
    """The value that ``data`` stands for.

    Raises:
        DecodeError: Says what pickle said; whatever the loaded classes raise arrives as this.
    """
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except Exception as error:
        raise DecodeError(f"cannot decode a pickle: {_sentence(error)}.") from error


class _Unpickler(pickle.Unpickler):
    """Finds our exceptions where Celery has its own, when Celery is not installed."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return super().find_class(module_name, global_name)
        except ModuleNotFoundError:
            ours = vars(exceptions).get(global_name)
            if module_name.partition(".")[0] in _PEERS and ours is not None:
                return ours
            raise


def _sentence(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the __str__ of a user's exception
        text = ""
    return f"{type(error).__name__}: {text:.200}".rstrip(": .")
