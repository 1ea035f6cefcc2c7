"""Listening to the other workers: who comes, who goes, and who is to do what only one may do.

Source:
    Celery reference, ``celery.worker.consumer.gossip``: lines of the log, events of elections.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from umbel.app.operating.listening import keep_listening
from umbel.events.nodes import Worker as Node
from umbel.events.recent import Recent
from umbel.events.sender import EventSender
from umbel.events.state import State
from umbel.exceptions import ContentDisallowed, DecodeError
from umbel.protocols import Fanout
from umbel.serialization.registry import content_types
from umbel.wire.events import EventQueue, decode

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.model import Message

__all__ = ["Gossip"]

logger = logging.getLogger(__name__)

_LOOK = 5.0
"""Seconds between two looks at who has not been heard of."""
_ELECTIONS = 1000
"""Elections that may be under way."""
_BEATS = 2
"""Heartbeats of another process that show that it lives."""


class Gossip:
    """One worker's ear for the others. Costs no task anything, and can end nothing."""

    def __init__(
        self, app: Umbel, fanout: Fanout, sender: EventSender, *, hostname: str, interval: float
    ) -> None:
        """Make one.

        Args:
            interval: Seconds between two heartbeats.
        """
        self._app = app
        self._fanout = fanout
        self._sender = sender
        self._hostname = hostname
        conf = app.conf
        self._queue = EventQueue(
            exchange=conf.event_exchange,
            prefix=conf.event_queue_prefix,
            ttl=interval,
            expires=conf.event_queue_expires,
            exclusive=conf.event_queue_exclusive,
            durable=conf.event_queue_durable,
        ).queue(f"gossip.{hostname}", "worker.#")
        self._accept = content_types({conf.event_serializer, "json"})
        self.state = State(
            on_node_join=self._joined, on_node_leave=self._left, max_tasks_in_memory=1
        )
        """The other workers."""
        self.election_handlers: dict[str, Callable[[Any], object]] = {"task": self._call_task}
        """What the elected one does, by topic."""
        self._namesakes: Counter[object] = Counter()
        self._listening = asyncio.Event()
        self._doing: set[asyncio.Future[object]] = set()
        # By id, then by node: logical clock, node and process, topic, action.
        self._candidates: Recent[str, dict[str, tuple[int, str, str, Any]]] = Recent(_ELECTIONS)

    def meet(self, nodes: Sequence[str]) -> None:
        """These others are there; they will be heard of soon."""
        now = self._app.wall_clock.time()
        for node in nodes:
            self.state.get_or_create_worker(node, freq=_LOOK, heartbeats=[now])

    async def reachable(self) -> None:
        """Wait until it listens, but not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK):
                await self._listening.wait()

    async def listen(self) -> None:
        """Hear what the others say, until cancelled."""
        await keep_listening(
            self._fanout,
            self._queue,
            self._hear,
            clock=self._app.wall_clock,
            listening=self._listening.set,
            deaf=partial(logger.warning, "The other workers cannot be heard at the moment: %s"),
        )

    async def watch(self) -> None:
        """Notice who has not been heard of, until cancelled."""
        while True:
            await self._app.wall_clock.sleep(_LOOK)
            for worker in self.state.workers.values():
                if not worker.alive:
                    logger.info("missed heartbeat from %s", worker.hostname)
                    self.state.workers.pop(worker.hostname, None)

    def election(self, id: str, topic: str, action: Any = None) -> None:
        """Have the workers agree on one of them, who then does ``action``.

        Every worker that is told so proposes itself, and everybody hears all of them.
        """
        self._sender.send("worker-elect", id=id, topic=topic, action=action, cver=1)

    async def finish(self, timeout: float) -> None:
        """Wait for what this worker was elected for, but not for long."""
        if self._doing:
            await asyncio.wait(self._doing, timeout=timeout)

    async def _hear(self, message: Message) -> None:
        try:
            events = decode(message, accept=self._accept)
        except (ContentDisallowed, DecodeError) as error:
            logger.warning("Ignored what another worker says: %s", error)
            return
        for event in events:
            clock = event.get("clock")
            if isinstance(clock, int):
                self._app.clock.adjust(clock)
            if event["type"] == "worker-elect":
                self._candidate(event)
            elif event.get("hostname") == self._hostname:
                self._look_for_namesakes(event)
            elif event["type"] != "worker-elect-ack":
                event["local_received"] = self._app.wall_clock.time()
                self.state.event(event)

    def _look_for_namesakes(self, event: dict[str, Any]) -> None:
        """Say it, once, when another process lives under this worker's name."""
        pid = event.get("pid")
        if event["type"] != "worker-heartbeat" or pid == self._sender.pid:
            return
        # One may be the last of a worker whose place this one has taken.
        self._namesakes[pid] += 1
        if self._namesakes[pid] == _BEATS:
            logger.warning(
                "Another worker (process %s) is called %s, too: both do what one is told, and "
                "nobody can tell them apart. Give each a name of its own: -n name@%%h.",
                pid,
                self._hostname,
            )

    def _candidate(self, event: dict[str, Any]) -> None:
        """A worker proposes itself; when all have, the first one is elected."""
        id, clock, hostname = event.get("id"), event.get("clock"), event.get("hostname")
        if not isinstance(id, str) or not isinstance(clock, int) or not isinstance(hostname, str):
            logger.error("election request without id, clock or hostname: %r", event)
            return
        candidates = self._candidates.setdefault(id, {})
        name = f"{hostname}.{event.get('pid')}"
        candidates[hostname] = clock, name, str(event.get("topic")), event.get("action")
        # Celery's workers count these.
        self._sender.send("worker-elect-ack", id=id)
        alive = {worker.hostname or "" for worker in self.state.alive_workers()}
        if alive | {self._hostname} <= candidates.keys():
            del self._candidates[id]
            _, leader, topic, action = min(candidates.values(), key=lambda each: each[:2])
            self._elected(id, leader, topic, action)

    def _elected(self, id: str, leader: str, topic: str, action: Any) -> None:
        if leader != f"{self._hostname}.{self._sender.pid}":
            logger.info("node %s elected for %r", leader, id)
            return
        logger.info("I won the election %r", id)
        handler = self.election_handlers.get(topic)
        if handler is None:
            logger.error("Unknown election topic %r", topic)
            return
        # In a thread: it waits for the broker, and the worker must not.
        doing = asyncio.get_running_loop().run_in_executor(None, handler, action)
        self._doing.add(doing)
        doing.add_done_callback(self._done)

    def _done(self, doing: asyncio.Future[object]) -> None:
        self._doing.discard(doing)
        error = None if doing.cancelled() else doing.exception()
        if error is not None:
            logger.error("Could not do what I was elected for: %r", error, exc_info=error)

    def _call_task(self, signature: Any) -> None:
        self._app.signature(signature).apply_async()

    def _joined(self, worker: Node) -> None:
        logger.debug("%s joined the party", worker.hostname)

    def _left(self, worker: Node) -> None:
        logger.debug("%s left", worker.hostname)
