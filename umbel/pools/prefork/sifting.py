"""Encoding requests, some of which may not be encodable."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from umbel.model import Outcome, Request
from umbel.pools.prefork.channel import encode
from umbel.pools.verdicts import unencodable

__all__ = ["encoded"]


def encoded(requests: Sequence[Request]) -> tuple[Sequence[Request], bytes, list[Outcome]]:
    """The requests that can be encoded, as msgpack, and outcomes for the others."""
    try:
        return requests, encode(requests), []
    except (TypeError, ValueError, OverflowError, RecursionError):
        good, failures = _sift(requests)
        return good, encode(good), failures


def _sift(requests: Sequence[Request]) -> tuple[list[Request], list[Outcome]]:
    good: list[Request] = []
    failures: list[Outcome] = []
    for request in requests:
        try:
            encode(request)
        except (
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
            msgspec.MsgspecError,
        ) as error:
            failures.append(unencodable(request.key, error))
        else:
            good.append(request)
    return good, failures
