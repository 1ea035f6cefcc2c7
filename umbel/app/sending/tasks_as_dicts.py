"""The messages of tasks, in parts: ``app.amqp.as_task_v2`` and what sends them.

umbel's own messages are written by :mod:`umbel.wire`; here they are taken apart for programs that
make and send messages of tasks themselves.

Source:
    Celery reference, ``celery.app.amqp``: names, arguments; its protocol documents: the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from umbel.app.sending.calls import defaults_of, make_call
from umbel.serialization import json
from umbel.utils.saferepr import saferepr
from umbel.wire import tasks

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["TaskMessages", "task_message"]


class task_message(NamedTuple):  # noqa: N801 - Celery's name
    """A task's message in parts."""

    headers: dict[str, Any]
    properties: dict[str, Any]
    body: Any
    sent_event: dict[str, Any] | None


class TaskMessages:
    """Makes messages of tasks, and sends them."""

    app: Umbel
    argsrepr_maxsize: int
    kwargsrepr_maxsize: int

    def as_task_v2(
        self,
        task_id: str,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        countdown: float | None = None,
        eta: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        expires: Any = None,
        retries: int = 0,
        chord: Any = None,
        callbacks: Any = None,
        errbacks: Any = None,
        reply_to: str | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        create_sent_event: bool = False,
        root_id: str | None = None,
        parent_id: str | None = None,
        shadow: str | None = None,
        chain: Any = None,
        now: Any = None,
        timezone: Any = None,
        origin: str | None = None,
        ignore_result: bool = False,
        argsrepr: str | None = None,
        kwargsrepr: str | None = None,
        stamped_headers: Sequence[str] | None = None,
        replaced_task_nesting: int = 0,
        **options: Any,
    ) -> task_message:
        """A message of the protocol that Celery has used since 4.0."""
        given = {
            "task_id": task_id,
            "countdown": countdown,
            "eta": eta,
            "expires": expires,
            "group_id": group_id,
            "group_index": group_index,
            "retries": retries,
            "chord": chord,
            "link": callbacks,
            "link_error": errbacks,
            "reply_to": reply_to,
            "time_limit": time_limit,
            "soft_time_limit": soft_time_limit,
            "chain": chain,
            "root_id": root_id or task_id,
            "parent_id": parent_id,
            "shadow": shadow,
            "ignore_result": ignore_result,
            "stamped_headers": stamped_headers,
            "argsrepr": argsrepr or saferepr(args or (), self.argsrepr_maxsize),
            "kwargsrepr": kwargsrepr or saferepr(kwargs or {}, self.kwargsrepr_maxsize),
            "replaced_task_nesting": replaced_task_nesting,
            **options,
        }
        return self._message(2, name, args, kwargs, given, create_sent_event, origin)

    def as_task_v1(
        self,
        task_id: str,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        countdown: float | None = None,
        eta: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        expires: Any = None,
        retries: int = 0,
        chord: Any = None,
        callbacks: Any = None,
        errbacks: Any = None,
        reply_to: str | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        create_sent_event: bool = False,
        root_id: str | None = None,
        parent_id: str | None = None,
        shadow: str | None = None,
        now: Any = None,
        timezone: Any = None,
        **options: Any,
    ) -> task_message:
        """A message of the protocol that Celery used before."""
        given = {
            "task_id": task_id,
            "countdown": countdown,
            "eta": eta,
            "expires": expires,
            "group_id": group_id,
            "retries": retries,
            "chord": chord,
            "reply_to": reply_to,
            "link": callbacks,
            "link_error": errbacks,
            "time_limit": time_limit,
            "soft_time_limit": soft_time_limit,
            **options,
        }
        return self._message(1, name, args, kwargs, given, create_sent_event, None)

    @property
    def task_protocols(self) -> dict[int, Callable[..., task_message]]:
        """What makes messages, by protocol."""
        return {1: self.as_task_v1, 2: self.as_task_v2}

    @property
    def create_task_message(self) -> Callable[..., task_message]:
        """What makes messages of the protocol that ``task_protocol`` says."""
        return self.task_protocols[self.app.conf.task_protocol]

    def send_task_message(
        self,
        producer: Any,
        name: str,
        message: task_message,
        exchange: Any = None,
        routing_key: str | None = None,
        queue: Any = None,
        event_dispatcher: Any = None,
        retry: bool | None = None,
        retry_policy: Mapping[str, Any] | None = None,
        serializer: str | None = None,
        delivery_mode: int | str | None = None,
        compression: str | None = None,
        declare: Any = None,
        headers: Mapping[str, Any] | None = None,
        exchange_type: str | None = None,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
        **options: Any,
    ) -> None:
        """Send a message that was made by one of these; returns when the broker has it.

        Args:
            producer: See ``app.producer_or_acquire()``.
            queue: Where it goes: a queue, or the name of one; else ``exchange`` and
                ``routing_key``, else where tasks go by default.

        Raises:
            OperationalError: The broker cannot be reached, or refuses.
        """
        conf, router = self.app.conf, self.app.router
        way = router.way(queue, exchange, routing_key, exchange_type)
        producer.publish(
            message.body,
            exchange=way[0],
            routing_key=way[1],
            serializer=serializer or conf.task_serializer,
            compression=compression or conf.task_compression,
            retry=conf.task_publish_retry if retry is None else retry,
            retry_policy={**(conf.task_publish_retry_policy or {}), **(retry_policy or {})},
            delivery_mode=delivery_mode or way[2] or conf.task_default_delivery_mode,
            headers={**message.headers, **(headers or {})},
            declare=declare,
            **{**message.properties, **options},
        )
        if event_dispatcher is not None and message.sent_event is not None:
            told = {"queue": way[1], "exchange": way[0], "routing_key": way[1]}
            event_dispatcher.publish("task-sent", {**message.sent_event, **told}, retry=False)

    def _message(
        self,
        protocol: int,
        name: str,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        given: Mapping[str, Any],
        create_sent_event: bool,
        origin: str | None,
    ) -> task_message:
        defaults = defaults_of(self.app, name, None)
        defaults.update(protocol=protocol, compression=None, serializer="json", priority=None)
        said = {option: value for option, value in given.items() if value is not None}
        call = make_call(self.app, defaults, args or (), kwargs or {}, said)
        written = tasks.encode(call)
        headers: dict[str, Any] = msgspec.json.decode(written.headers)
        if origin:
            headers["origin"] = origin
        body: Any = json.loads(written.body)
        # What only the serializer that sends it may be able to write.
        if protocol == 1:
            body.update(args=args or (), kwargs=kwargs or {})
        else:
            body = (args or (), kwargs or {}, body[2])
        told = None
        if create_sent_event:
            fields: tuple[str, ...] = ("retries", "eta", "expires")
            about = body
            if protocol != 1:
                fields, about = ("root_id", "parent_id", *fields), headers
            told = {
                "uuid": call.id,
                "name": name,
                "args": headers.get("argsrepr") or saferepr(args or ()),
                "kwargs": headers.get("kwargsrepr") or saferepr(kwargs or {}),
                **{field: about.get(field) for field in fields},
            }
        properties = {"correlation_id": call.id, "reply_to": given.get("reply_to") or ""}
        return task_message(headers, properties, body, told)
