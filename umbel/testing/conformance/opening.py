"""What a contract is about, made as often as a test likes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

__all__ = ["Opens", "opening"]


class Opens(Protocol):
    """A broker, a result backend, a fan-out."""

    async def open(self) -> None:
        """Connect."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


T = TypeVar("T", bound=Opens)


@asynccontextmanager
async def opening(make: Callable[[], T]) -> AsyncGenerator[Callable[[], Awaitable[T]]]:
    """What fixtures yield: makes one and opens it, each time it is called; all are closed in the
    end."""
    made: list[T] = []

    async def make_open() -> T:
        one = make()
        await one.open()
        made.append(one)
        return one

    try:
        yield make_open
    finally:
        for one in made:
            await one.close()
