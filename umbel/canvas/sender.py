"""Who sends signatures: an app, as they see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from umbel.exceptions import ImproperlyConfigured
from umbel.result.single import AsyncResult
from umbel.result.waiting import ResultSource

if TYPE_CHECKING:
    from umbel.canvas.plan import Node

__all__ = ["Sender", "default_sender", "send_through"]


class Sender(ResultSource, Protocol):
    """What a signature needs of an app."""

    @property
    def tasks(self) -> Mapping[str, Any]:
        """The tasks that are known here, by name."""
        ...

    @property
    def oid(self) -> str:
        """Where results that travel as messages are sent."""
        ...

    @property
    def conf(self) -> Any:
        """The settings."""
        ...

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send a task that need not be known here."""
        ...

    async def asend_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """:meth:`send_task`, without blocking the running loop."""
        ...

    def plan(
        self, signature: Mapping[str, Any], options: Mapping[str, Any] | None = None
    ) -> Node | None:
        """What a signature comes to, every id fixed; None when it is empty."""
        ...

    def start_workflow(
        self,
        signature: Mapping[str, Any],
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
    ) -> Any:
        """Send a chain, group or chord; returns its result."""
        ...

    async def astart_workflow(
        self,
        signature: Mapping[str, Any],
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
    ) -> Any:
        """:meth:`start_workflow`, without blocking the running loop."""
        ...


# Set once, by the composition root: signatures made without an app are sent by the current one.
_default: Callable[[], Sender] | None = None


def send_through(default: Callable[[], Sender]) -> None:
    """Say by which app signatures are sent that were made without one."""
    global _default  # noqa: PLW0603 - the one place that sets it
    _default = default


def default_sender(asking: object) -> Sender:
    """The app that sends what belongs to none: the current one.

    Raises:
        ImproperlyConfigured: There is none.
    """
    if _default is None:
        msg = f"{asking!r} belongs to no app. Pass app=, or make an app current."
        raise ImproperlyConfigured(msg)
    return _default()
