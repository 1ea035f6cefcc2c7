"""``app.events``: sending events, listening to them, and what they tell.

Source:
    Celery reference, ``celery.app.events``: names.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from umbel.events.dispatcher import EventDispatcher
from umbel.events.receiver import EventReceiver
from umbel.events.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.app.base import Umbel

__all__ = ["Events"]


class Events:
    """The parts of ``umbel.events``, for one app."""

    def __init__(self, app: Umbel) -> None:
        self.app = app

    @property
    def Receiver(self) -> Callable[..., EventReceiver]:  # noqa: N802 - Celery's name
        """Makes a :class:`~umbel.events.receiver.EventReceiver`."""
        return partial(EventReceiver, app=self.app)

    @property
    def Dispatcher(self) -> Callable[..., EventDispatcher]:  # noqa: N802 - Celery's name
        """Makes an :class:`~umbel.events.dispatcher.EventDispatcher`."""
        return partial(EventDispatcher, app=self.app)

    @property
    def State(self) -> type[State]:  # noqa: N802 - Celery's name
        """:class:`~umbel.events.state.State`."""
        return State

    @contextmanager
    def default_dispatcher(
        self,
        hostname: str | None = None,
        enabled: bool = True,
        buffer_while_offline: bool = False,
    ) -> Generator[EventDispatcher]:
        """A dispatcher for a moment."""
        with self.Dispatcher(
            hostname=hostname, enabled=enabled, buffer_while_offline=buffer_while_offline
        ) as dispatcher:
            yield dispatcher

    def send(self, type: str, **fields: Any) -> None:
        """Send one event."""
        with self.default_dispatcher() as dispatcher:
            dispatcher.send(type, **fields)
