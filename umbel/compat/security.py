"""``celery.security.utils``: errors of cryptography as errors of security.

Source:
    Celery internals reference, ``celery.security.utils``: names and behaviour.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import contextmanager

from umbel.exceptions import SecurityError

__all__ = ["reraise_errors"]


@contextmanager
def reraise_errors(
    msg: str = "{0!r}", errors: tuple[type[BaseException], ...] | None = None
) -> Generator[None]:
    """Turn errors into SecurityError, meanwhile.

    Args:
        msg: What it says; ``{0}`` stands for the error.
        errors: Of these classes; None: of all of cryptography's own, which Celery fails to catch.

    Raises:
        SecurityError: There was one.
    """
    caught = _cryptographys() if errors is None else errors
    try:
        yield
    except caught as error:
        raise SecurityError(msg.format(error)) from error


def _cryptographys() -> tuple[type[BaseException], ...]:
    # Optional: umbel[auth].
    found = vars(importlib.import_module("cryptography.exceptions")).values()
    return tuple(
        kind for kind in found if isinstance(kind, type) and issubclass(kind, BaseException)
    )
