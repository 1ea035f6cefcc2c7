"""Composition: signatures, and what follows a task."""

from umbel.canvas.signature import (
    Signature,
    maybe_signature,
    maybe_subtask,
    signature,
    subtask,
)

__all__ = ["Signature", "maybe_signature", "maybe_subtask", "signature", "subtask"]
