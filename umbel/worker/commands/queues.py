"""Commands about the queues that a worker takes tasks from."""

from __future__ import annotations

__all__: list[str] = []
