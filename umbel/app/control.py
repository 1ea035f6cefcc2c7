"""``app.control``: steering workers, and asking them.

Source:
    Celery reference, ``celery.app.control``: names, arguments, shapes of what is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel.app.operating import revoking
from umbel.app.operating.inspection import Inspect, flatten_reply
from umbel.app.operating.mailbox import Asking, mailbox_of

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.wire.pidbox import Mailbox

__all__ = ["Control", "Inspect", "flatten_reply"]

_Replies = list[dict[str, Any]] | None


class Control:
    """Commands to workers. Each method takes the options of :meth:`broadcast` too, and returns
    what it returns: None, or with ``reply=True`` one ``{node: reply}`` for each that replied."""

    def __init__(self, app: Umbel) -> None:
        self.app = app

    @property
    def mailbox(self) -> Mailbox:
        """The exchanges and queues of remote control."""
        return mailbox_of(self.app.conf)

    def inspect(
        self,
        destination: Sequence[str] | str | None = None,
        timeout: float | None = 1.0,
        callback: Callable[[dict[str, Any]], object] | None = None,
        connection: object = None,
        app: Umbel | None = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> Inspect:
        """What asks workers without changing them."""
        return Inspect(
            destination=destination,
            timeout=timeout,
            callback=callback,
            connection=connection,
            app=app or self.app,
            limit=limit,
            pattern=pattern,
            matcher=matcher,
        )

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Sequence[str] | str | None = None,
        connection: object = None,
        reply: bool = False,
        timeout: float | None = 1.0,
        limit: int | None = None,
        callback: Callable[[dict[str, Any]], object] | None = None,
        channel: object = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra_kwargs: Any,
    ) -> _Replies:
        """Send a command to workers, built in or one's own.

        Args:
            destination: The nodes it is for; all of them by default.
            reply: Whether to wait for replies.
            timeout: Seconds without a reply after which nobody waits for more.
            limit: How many replies are enough.
            callback: Called with each reply as it comes.
            pattern: Which nodes it is for, by name.
            matcher: How ``pattern`` is meant: ``glob`` or ``pcre``.
            connection: Ignored, as ``channel`` is: umbel has its own.
            extra_kwargs: More arguments of the command.

        Raises:
            OperationalError: The broker is away.
        """
        return self.app.portal.call(
            self._broadcast,
            command,
            {**(arguments or {}), **extra_kwargs},
            destination,
            reply,
            timeout,
            limit,
            callback,
            pattern,
            matcher,
        )

    async def abroadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Sequence[str] | str | None = None,
        *,
        reply: bool = False,
        timeout: float | None = 1.0,
        limit: int | None = None,
        callback: Callable[[dict[str, Any]], object] | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> _Replies:
        """:meth:`broadcast`, on the running loop."""
        return await self._broadcast(
            command,
            arguments or {},
            destination,
            reply,
            timeout,
            limit,
            callback,
            pattern,
            matcher,
        )

    async def _broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any],
        destination: Sequence[str] | str | None,
        reply: bool,
        timeout: float | None,
        limit: int | None,
        callback: Callable[[dict[str, Any]], object] | None,
        pattern: str | None,
        matcher: str | None,
    ) -> _Replies:
        both = bool(pattern and matcher)
        asking = Asking(
            self.app,
            command,
            arguments,
            destination=[destination] if isinstance(destination, str) else destination,
            pattern=pattern if both else None,
            matcher=matcher if both else None,
        )
        if destination is None and not both:
            await revoking.keep(self.app, command, arguments)
        if not reply:
            await asking.tell()
            return None
        return await asking.call(timeout=timeout, limit=limit, callback=callback)

    def purge(self, connection: object = None) -> int:
        """Delete all tasks that wait in the queues of the app; how many those were."""
        return self.app.portal.call(self._purge)

    discard_all = purge

    async def _purge(self) -> int:
        broker = await self.app.connections.broker()
        return await broker.purge([queue.name for queue in self.app.queues()])

    # -- commands

    def ping(
        self,
        destination: Sequence[str] | None = None,
        timeout: float | None = 1.0,
        **kwargs: Any,
    ) -> list[dict[str, Any]]:
        """Which workers live: ``[{"celery@a1": {"ok": "pong"}}, …]``."""
        replies = self.broadcast("ping", {}, destination, reply=True, timeout=timeout, **kwargs)
        return replies or []

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Sequence[str] | None = None,
        terminate: bool = False,
        signal: str = "SIGTERM",
        **kwargs: Any,
    ) -> _Replies:
        """Let no worker run these tasks. Where the broker keeps revocations (SQLite, Redis), that
        holds for workers which start later, too, also when none runs now; unless some workers are
        named by ``destination``.

        Args:
            terminate: Whether to end them, too, if they run: ``signal`` is sent to their process.
        """
        arguments = {
            "task_id": task_id if isinstance(task_id, str) else list(task_id),
            "terminate": terminate,
            "signal": signal,
        }
        return self.broadcast("revoke", arguments, destination, **kwargs)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Sequence[str] | None = None,
        terminate: bool = False,
        signal: str = "SIGTERM",
        **kwargs: Any,
    ) -> _Replies:
        """:meth:`revoke` for all tasks that are stamped so."""
        arguments = {"headers": dict(headers), "terminate": terminate, "signal": signal}
        return self.broadcast("revoke_by_stamped_headers", arguments, destination, **kwargs)

    def terminate(
        self,
        task_id: str | Iterable[str],
        destination: Sequence[str] | None = None,
        signal: str = "SIGTERM",
        **kwargs: Any,
    ) -> _Replies:
        """:meth:`revoke` with ``terminate=True``."""
        return self.revoke(task_id, destination, terminate=True, signal=signal, **kwargs)

    def election(self, id: str, topic: str, action: Any = None, connection: object = None) -> None:
        """Have the workers agree on one of them, which then does ``action``."""
        self.broadcast("election", {"id": id, "topic": topic, "action": action})

    def rate_limit(
        self,
        task_name: str,
        rate_limit: int | str,
        destination: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> _Replies:
        """How often a task may start: a number a second, or text such as ``"100/m"``."""
        arguments = {"task_name": task_name, "rate_limit": rate_limit}
        return self.broadcast("rate_limit", arguments, destination, **kwargs)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> _Replies:
        """The time limits of a task, in seconds."""
        arguments = {"task_name": task_name, "hard": hard, "soft": soft}
        return self.broadcast("time_limit", arguments, destination, **kwargs)

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        destination: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> _Replies:
        """Have workers take tasks from one more queue.

        Args:
            options: More properties of the queue.
        """
        arguments = {
            "queue": queue,
            "exchange": exchange,
            "exchange_type": exchange_type,
            "routing_key": routing_key,
            **(options or {}),
        }
        return self.broadcast("add_consumer", arguments, destination, **kwargs)

    def cancel_consumer(
        self, queue: str, destination: Sequence[str] | None = None, **kwargs: Any
    ) -> _Replies:
        """Have workers take no more tasks from a queue."""
        return self.broadcast("cancel_consumer", {"queue": queue}, destination, **kwargs)

    def enable_events(self, destination: Sequence[str] | None = None, **kwargs: Any) -> _Replies:
        """Have workers send an event for every step of a task."""
        return self.broadcast("enable_events", {}, destination, **kwargs)

    def disable_events(self, destination: Sequence[str] | None = None, **kwargs: Any) -> _Replies:
        """Have workers send no more events of tasks."""
        return self.broadcast("disable_events", {}, destination, **kwargs)

    def heartbeat(self, destination: Sequence[str] | None = None, **kwargs: Any) -> _Replies:
        """Have workers show that they live, now."""
        return self.broadcast("heartbeat", {}, destination, **kwargs)

    def pool_grow(
        self, n: int = 1, destination: Sequence[str] | None = None, **kwargs: Any
    ) -> _Replies:
        """Have workers run ``n`` more tasks at once."""
        return self.broadcast("pool_grow", {"n": n}, destination, **kwargs)

    def pool_shrink(
        self, n: int = 1, destination: Sequence[str] | None = None, **kwargs: Any
    ) -> _Replies:
        """Have workers run ``n`` fewer tasks at once."""
        return self.broadcast("pool_shrink", {"n": n}, destination, **kwargs)

    def pool_restart(
        self,
        modules: Sequence[str] | None = None,
        reload: bool = False,
        reloader: Any = None,
        destination: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> _Replies:
        """Have workers replace the processes that run tasks, once these are done.

        Args:
            modules: What to import in the workers first.
            reload: Whether to read modules again that are imported already: for pools that
                run tasks in the worker's own process.
        """
        arguments = {"modules": modules, "reload": reload, "reloader": reloader}
        return self.broadcast("pool_restart", arguments, destination, **kwargs)

    def autoscale(
        self, max: int, min: int, destination: Sequence[str] | None = None, **kwargs: Any
    ) -> _Replies:
        """Between how many tasks at once workers adapt themselves."""
        return self.broadcast("autoscale", {"max": max, "min": min}, destination, **kwargs)

    def shutdown(self, destination: Sequence[str] | None = None, **kwargs: Any) -> _Replies:
        """Have workers end, the warm way. They do not reply."""
        return self.broadcast("shutdown", {}, destination, **kwargs)
