"""What says that a task is not to be run."""

from __future__ import annotations

import msgspec

__all__ = ["Revocation"]


class Revocation(msgspec.Struct, frozen=True, array_like=True):
    """Either a task id, or a stamp: the name of a stamped header and one of its values."""

    id: str = ""
    """Empty when a stamp is meant."""
    header: str = ""
    value: str = ""
    """As text: the command line knows nothing else."""
