"""What a serializer must do."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Serializer"]


class Serializer(Protocol):
    """Turns task arguments and results into bytes and back. Stateless and thread-safe."""

    @property
    def name(self) -> str:
        """As in ``task_serializer``: "json", "pickle"."""
        ...

    @property
    def content_type(self) -> str:
        """As on the wire: "application/json"."""
        ...

    @property
    def content_encoding(self) -> str:
        """As on the wire: "utf-8", "binary"."""
        ...

    def dumps(self, value: object) -> bytes:
        """Raises: EncodeError: names the offending type and where it sits in ``value``."""
        ...

    def loads(self, data: bytes) -> object:
        """Raises: DecodeError: ``data`` is not what :meth:`dumps` writes."""
        ...
