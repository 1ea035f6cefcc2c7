"""Texts and bytes, as ``kombu.utils.encoding`` turns one into the other."""

from __future__ import annotations

from typing import Any

__all__ = ["bytes_to_str", "safe_str", "str_to_bytes"]


def bytes_to_str(s: Any) -> Any:
    """Bytes as text; what cannot be decoded becomes U+FFFD. Anything else is what it is."""
    return s.decode(errors="replace") if isinstance(s, bytes) else s


def str_to_bytes(s: Any) -> Any:
    """A text in UTF-8; anything else is what it is."""
    return s.encode() if isinstance(s, str) else s


def safe_str(s: object, errors: str = "replace") -> str:
    """Any object as text, even if it has no fit ``str``."""
    if isinstance(s, bytes):
        return s.decode(errors=errors)
    try:
        return str(s)
    except Exception as problem:  # noqa: BLE001 - it is to be shown, come what may
        return f"<Unrepresentable {type(s)!r}: {problem!r}>"
