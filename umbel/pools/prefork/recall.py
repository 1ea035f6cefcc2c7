"""Requests that somebody asks back from the children."""

from __future__ import annotations

from umbel.model import Request

__all__ = ["Recall"]


class Recall:
    """Keeps what is asked back as it comes in, for whoever asked."""

    def __init__(self) -> None:
        self._wanted: list[set[int]] = []
        self._caught: dict[int, Request] = {}

    def begin(self, keys: set[int]) -> None:
        """Somebody wants these."""
        self._wanted.append(keys)

    def catches(self, request: Request) -> bool:
        """Keep a request that has come back, if somebody wants it; returns whether."""
        wanted = any(request.key in keys for keys in self._wanted)
        if wanted:
            self._caught[request.key] = request
        return wanted

    def end(self, keys: set[int]) -> list[Request]:
        """What has come of it, in the order in which it would have started."""
        self._wanted.remove(keys)
        return [self._caught.pop(key) for key in sorted(keys & self._caught.keys())]
