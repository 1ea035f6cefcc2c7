"""``app.dead_letters``: the messages that were given up, and what can be done with them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec import structs

from umbel.exceptions import BackendUnavailable, ImproperlyConfigured
from umbel.model import DeadLetter, Message
from umbel.protocols import DeadLetterStore, KeepsDeadLetters

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["DeadLetters"]

logger = logging.getLogger(__name__)


class DeadLetters:
    """Messages that nobody could read, that no worker knew the task of, that tasks rejected, or
    that ended every process that ran them.

    Raises (all methods):
        OperationalError: The broker cannot be reached.
        ImproperlyConfigured: The broker keeps no dead letters.
    """

    def __init__(self, app: Umbel) -> None:
        self._app = app

    def count(self) -> int:
        """How many there are."""
        return self._app.portal.call(self.acount)

    def latest(self, limit: int = 100, skip: int = 0) -> list[DeadLetter]:
        """Up to ``limit`` of them, the latest first, without the latest ``skip``."""
        return self._app.portal.call(self.alatest, limit, skip)

    def load(self, *ids: str) -> list[DeadLetter]:
        """Those of these that exist."""
        return self._app.portal.call(self.aload, *ids)

    def retry(self, *ids: str) -> int:
        """Send the messages to their queues again, as if never tried; returns how many.

        They are published before they are forgotten: should that be interrupted, one may be both
        in its queue and here. What is no message stays where it is.
        """
        return self._app.portal.call(self.aretry, *ids)

    def drop(self, *ids: str) -> int:
        """Forget these for good; returns how many there were."""
        return self._app.portal.call(self.adrop, *ids)

    async def acount(self) -> int:
        """See :meth:`count`."""
        return await (await self._store()).count()

    async def alatest(self, limit: int = 100, skip: int = 0) -> list[DeadLetter]:
        """See :meth:`latest`."""
        return await (await self._store()).latest(limit=limit, skip=skip)

    async def aload(self, *ids: str) -> list[DeadLetter]:
        """See :meth:`load`."""
        return await (await self._store()).load(ids)

    async def aretry(self, *ids: str) -> int:
        """See :meth:`retry`."""
        store = await self._store()
        letters = [letter for letter in await store.load(ids) if letter.message.id]
        if letters:
            messages = [_afresh(letter) for letter in letters]
            await self._forget([message.id for message in messages])
            await self._app.producer.publish(messages, self._app.publish_policy({}))
            await store.drop([letter.id for letter in letters])
        return len(letters)

    async def _forget(self, ids: list[str]) -> None:
        """Let whoever waits for a task again wait for its next end."""
        try:
            await (await self._app.connections.backend()).forget(ids)
        except BackendUnavailable as error:
            logger.warning("Until they have run again, tasks have their old results: %s", error)

    async def adrop(self, *ids: str) -> int:
        """See :meth:`drop`."""
        return await (await self._store()).drop(ids)

    async def _store(self) -> DeadLetterStore:
        broker = await self._app.connections.broker()
        if not isinstance(broker, KeepsDeadLetters):
            message = (
                f"the broker ({type(broker).__name__}) keeps no dead letters that could be looked "
                "at; give its queues a dead-letter exchange and look there."
            )
            raise ImproperlyConfigured(message)
        return broker.dead_letters


def _afresh(letter: DeadLetter) -> Message:
    return structs.replace(
        letter.message, exchange="", routing_key=letter.queue, not_before=None, expires_at=None
    )
