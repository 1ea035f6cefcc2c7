"""The part of an app that makes what workers and clients work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from umbel.app.connecting import drivers
from umbel.app.connecting.transport_options import (
    backend_options,
    broker_options,
    connect_timeout,
    options_for_results,
)
from umbel.app.sending.workflows import Workflows
from umbel.canvas.chains import chain
from umbel.canvas.signature import maybe_signature
from umbel.clock import SystemClock
from umbel.exceptions import ImproperlyConfigured
from umbel.execution.tools import Tools
from umbel.model import Retention
from umbel.result.base import result_from_tuple
from umbel.serialization import registry as serializers
from umbel.wire.results import ResultCodec

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.app.configuring.settings import Settings
    from umbel.app.connecting.drivers import Access, Replies
    from umbel.canvas.composing import Composer
    from umbel.model import Message, Queue, ResultRecord
    from umbel.protocols import Broker, Fanout, ResultBackend, Runner, ScheduleStore

__all__ = ["Equipment"]


class Equipment(Workflows):
    """Clients, codecs and runners, as the configuration asks for them."""

    @property
    def read_retries(self) -> float:
        """How often looking at a result is tried again while the result backend is away."""
        retries: float = self.conf.result_backend_max_retries
        return retries if self.conf.result_backend_always_retry else 0

    @property
    def signed_only(self) -> bool:
        """Whether only signed messages are read, so that others are not believed."""
        return list(self.conf.accept_content or ()) == ["auth"]

    @property
    def accept(self) -> frozenset[str]:
        """The content types that messages may have."""
        return self._derive(
            "accept", lambda conf: serializers.content_types(conf.accept_content or ())
        )

    @property
    def decompress_limit(self) -> int:
        """Bytes that a compressed message or result may unpack to."""
        limit: int = self.conf.task_decompressed_max_size
        return limit

    @property
    def codec(self) -> ResultCodec:
        """How results are written and read."""
        return self._derive("codec", self._make_codec)

    def _make_codec(self, conf: Settings) -> ResultCodec:
        accept = conf.result_accept_content or conf.accept_content or ()
        failure = conf.result_failure_expires if conf.is_set("result_failure_expires") else None
        foreign = self.foreign_backend is not None
        form = self.backend.serializer if foreign else conf.result_serializer
        return ResultCodec(
            serializer=form,
            accept=serializers.content_types([*accept, form]),
            whole=foreign,
            expires=_seconds(conf.result_expires),
            failure_expires=_seconds(conf.result_expires if failure is None else failure),
            extended=conf.result_extended,
            compression=None if foreign else conf.result_compression,
            limit=self.decompress_limit,
            clock=self.wall_clock,
            addressed=drivers.sends_results(self.backend_url),
        )

    @property
    def tools(self) -> Tools:
        """What running tasks in this process needs."""
        return self._derive("tools", lambda _: self._make_tools(self.origin.partition("@")[2]))

    def _make_tools(self, hostname: str) -> Tools:
        loader = cast("Umbel", self).loader
        return Tools(
            codec=self.codec,
            accept=self.accept,
            limit=self.decompress_limit,
            hostname=hostname,
            clock=self.wall_clock,
            store=self._store_now,
            publish=self._publish_now,
            encode=self.encode_steps,
            route=lambda queue: self.router.route(queue=queue),
            call_signature=self._apply_signature,
            farewell=self.connections.close,
            tasks=self._tasks,
            timezone=self.timezone,
            task_init=loader.own_hook("on_task_init"),
            process_cleanup=loader.own_hook("on_process_cleanup"),
        )

    def _apply_signature(
        self,
        signature: Mapping[str, Any],
        args: Sequence[Any],
        context: Mapping[str, Any],
        *,
        rest: Sequence[Any] = (),
    ) -> None:
        """Run what follows an eager task here and now, too."""
        app = cast("Umbel", self)
        found: Any = maybe_signature(signature, app=app)
        if rest:
            found = chain.of([found, *reversed(rest)], {}, app)
        found.apply(args, **context)

    @property
    def composer(self) -> Composer:
        """What makes messages of full chords."""
        # Only workers need it.
        from umbel.canvas import composing
        from umbel.execution.errbacks import sendable

        return self._derive(
            "composer",
            lambda _: composing.Composer(
                self.codec,
                self.encode_steps,
                accept=self.accept,
                rewrite=lambda errbacks, failure: sendable(errbacks, failure, self._tasks),
            ),
        )

    def make_runner(self, hostname: str) -> Runner:
        """What a pool runs requests with."""
        # Only workers run tasks; producers need none of it.
        from umbel.execution.runner import TaskRunner

        return TaskRunner(self._tasks, self._make_tools(hostname))

    def make_broker(self, url: str | None = None) -> Broker:
        """A broker client for a worker, not opened yet.

        It tries again only for a moment: the worker has patience of its own, and says so.

        Args:
            url: Of another broker than the app's own.
        """
        return self._broker_at(self.broker_read_url if url is None else url, max_retries=2)

    def broker_elsewhere(self) -> Callable[[], Broker]:
        """What makes such a client in another process, to hold on to what one here has on loan.
        It can be sent there if the transport options can."""
        access = self._broker_access(self.broker_read_url)._replace(clock=SystemClock())
        return partial(drivers.make_broker, access, lease=self.conf.worker_lease)

    def make_console(self) -> Any:
        """What ``umbel amqp`` speaks with, not opened yet.

        Raises:
            ImproperlyConfigured: The broker has no such thing.
        """
        return drivers.make_console(self._broker_access(self.broker_url))

    def _make_producer_broker(self) -> Broker:
        # Repeating is the producer's own policy: only one of the two may insist.
        return self._broker_at(self.broker_url, max_retries=0, replies=self._replies)

    def _broker_at(self, url: str, *, max_retries: int, replies: Replies | None = None) -> Broker:
        conf = self.conf
        return drivers.make_broker(
            self._broker_access(url, max_retries=max_retries),
            lease=conf.worker_lease,
            keep_dead=Retention(count=conf.dead_letters_max, seconds=conf.dead_letters_expires),
            make_queue=lambda name: self.router.select([name])[0],
            exchange_type=self.router.exchange_type,
            replies=replies,
        )

    def _broker_access(self, url: str, *, max_retries: int = 0) -> Access:
        return drivers.Access(
            url,
            clock=self.wall_clock,
            options=broker_options(self.conf),
            project=self.project,
            connect_timeout=connect_timeout(self.conf),
            max_retries=max_retries,
        )

    def _make_schedules(self, broker: Broker | None) -> ScheduleStore | None:
        # Only who has periodic tasks needs it.
        from umbel.app.scheduling.stores import schedule_store

        return schedule_store(self.conf, broker, clock=self.wall_clock, project=self.project)

    def make_fanout(self, url: str | None = None) -> Fanout:
        """What carries remote control and events, not opened yet.

        Args:
            url: The broker beside which it runs; None: where tasks are sent to.
        """
        return drivers.make_fanout(self._broker_access(url or self.broker_url, max_retries=1))

    @property
    def _replies(self) -> Replies | None:
        """How results come back to this process, where they are messages."""
        if not drivers.sends_results(self.backend_url):
            return None
        kept = self._derived.get("replies")
        if kept is None or kept[0] != self.oid:
            conf = self.conf
            expires = _seconds(conf.result_expires)
            made = drivers.Replies(
                mailbox=drivers.make_mailbox(self.broker_url, self.oid, expires),
                persistent=bool(conf.result_persistent),
                serializer=conf.result_serializer,
            )
            kept = self._derived["replies"] = (self.oid, made)
        replies: Replies = kept[1]
        return replies

    def make_backend(self) -> ResultBackend:
        """A result backend client, not opened yet.

        Raises:
            ImproperlyConfigured: ``result_backend`` names none that there is here; no server is
                asked.
        """
        try:
            return self._make_backend()
        except ImproperlyConfigured as error:
            if not self.conf.is_set("result_backend"):
                raise
            raise ImproperlyConfigured(
                f"result_backend, {self.conf.origin('result_backend')}, cannot be used: {error}"
            ) from error

    def require_results(self) -> None:
        """See that results can be kept, as far as that is known without asking a server.

        Raises:
            ImproperlyConfigured: They cannot; says what to do.
        """
        try:
            self.make_backend()
        except ImproperlyConfigured as error:
            raise ImproperlyConfigured(
                f"{error} Nothing was sent. Tasks whose results nobody reads need none: "
                "ignore_result=True."
            ) from error

    def _make_backend(self) -> ResultBackend:
        replies = self._replies
        if replies is not None:
            return drivers.make_rpc_backend(self._broker_access(self.broker_url), replies)
        if self.foreign_backend is not None:
            return drivers.make_legacy_backend(
                self._make_own_backend,
                lambda found: result_from_tuple(found, self),
                clock=self.wall_clock,
                counting=self._make_counting_backend(),
            )
        return self._make_backend_at(self.backend_url, backend_options(self.conf))

    def _make_counting_backend(self) -> ResultBackend | None:
        """What counts the members of chords where the result backend cannot."""
        said: Mapping[str, Any] = self.conf.result_backend_transport_options or {}
        url: str | None = said.get("chord_backend")
        if url is not None:
            return self._make_backend_at(url, {})
        if not drivers.keeps_results(self.broker_url):
            return None
        return self._make_backend_at(self.broker_url, options_for_results(self.conf))

    def _make_backend_at(self, url: str, options: Mapping[str, Any]) -> ResultBackend:
        conf = self.conf
        kept = conf.result_chord_expires
        return drivers.make_backend(
            drivers.Access(url, clock=self.wall_clock, options=options, project=self.project),
            chord_expires=_seconds(conf.result_expires if kept is None else kept) or 0.0,
        )

    def queues(
        self, select: Sequence[str] | None = None, exclude: Sequence[str] = ()
    ) -> list[Queue]:
        """The queues to consume from; see :meth:`umbel.app.sending.router.Router.select`."""
        return self.router.select(select, exclude)

    def _store_now(self, records: Sequence[ResultRecord]) -> None:
        self.portal.call(self._store, records)

    async def _store(self, records: Sequence[ResultRecord]) -> None:
        await (await self.connections.backend()).store(records)

    def _publish_now(self, messages: Sequence[Message]) -> None:
        self.portal.call(self.producer.publish, messages, self.publish_policy({}))


def _seconds(value: Any) -> float | None:
    """A duration setting as seconds; nothing and 0 mean for ever."""
    if value is None:
        return None
    seconds = value.total_seconds() if hasattr(value, "total_seconds") else float(value)
    return seconds or None
