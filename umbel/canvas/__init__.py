"""Composition: signatures, chains, groups, chords, and what follows a task."""

from umbel.canvas.chains import chain
from umbel.canvas.chords import chord
from umbel.canvas.groups import group
from umbel.canvas.maps import chunks, xmap, xstarmap
from umbel.canvas.signature import (
    Signature,
    maybe_signature,
    maybe_subtask,
    signature,
    subtask,
)
from umbel.canvas.stamping import GroupStampingVisitor, StampingVisitor

__all__ = [
    "GroupStampingVisitor",
    "Signature",
    "StampingVisitor",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "maybe_subtask",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
