"""``celery.worker.request``: a request as receivers of signals and remote control see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from umbel.wire import headers
from umbel.wire.tasks import read_body

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.model import Delivery, Message
    from umbel.worker.fetching.admission import Accepted

__all__ = ["Request", "create_request_cls"]


class Request:
    """Read-only; made only when somebody looks, or a strategy asks for it.

    Source:
        Celery reference, ``celery.worker.request.Request``: names of the properties.
    """

    acknowledged = False
    time_start: float | None = None
    worker_pid: int | None = None
    utc = True

    def __init__(
        self,
        message: Any,
        on_ack: Callable[..., object] | None = None,
        hostname: str | None = None,
        eventer: Any = None,
        app: Umbel | None = None,
        task: Any = None,
        on_reject: Callable[..., object] | None = None,
        **_: Any,
    ) -> None:
        """A request.

        Args:
            message: What the worker has accepted, or the message that a strategy was given.
            on_ack: Acknowledges it.
            on_reject: Rejects it.
        """
        accepted: Accepted = getattr(message, "accepted", message)
        self.app, self.task, self.type = app, task, task
        self.hostname, self.eventer = hostname, eventer
        self.on_ack, self.on_reject = on_ack, on_reject
        self._request = accepted.request
        self._delivery = accepted.delivery
        self._options = accepted.options
        self._headers: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<Request: {self.humaninfo()} {self.argsrepr or ''} {self.kwargsrepr or ''}>"

    @property
    def id(self) -> str:
        """The task id."""
        return self._request.id

    @property
    def task_id(self) -> str:
        """The task id."""
        return self._request.id

    @property
    def name(self) -> str:
        """The task's name."""
        return self._request.task

    task_name = name

    @property
    def message(self) -> Message:
        """As it came."""
        return self._request.message

    @property
    def delivery(self) -> Delivery:
        """The message on loan."""
        return self._delivery

    @property
    def body(self) -> bytes:
        """Still encoded."""
        return self._request.message.body

    @property
    def _payload(self) -> tuple[Any, Any, dict[str, Any]]:
        """Arguments, keyword arguments and the rest of the body."""
        app = self.app
        if app is None:
            raise RuntimeError(f"{self!r} belongs to no app, so nobody says what it may contain")
        body = read_body(self._request, accept=app.accept, limit=app.decompress_limit)
        rest = {name: getattr(body, name) for name in ("callbacks", "errbacks", "chain", "chord")}
        return body.args, body.kwargs, rest

    @property
    def args(self) -> Any:
        """The positional arguments."""
        return self._payload[0]

    @property
    def kwargs(self) -> Any:
        """The keyword arguments."""
        return self._payload[1]

    def acknowledge(self) -> None:
        """It is done with."""
        if not self.acknowledged and self.on_ack is not None:
            self.acknowledged = True
            self.on_ack(None, ())

    def reject(self, requeue: bool = False) -> None:
        """Drop it, or give it back."""
        if not self.acknowledged and self.on_reject is not None:
            self.acknowledged = True
            self.on_reject(None, (), requeue)

    @property
    def content_type(self) -> str:
        """The body's."""
        return self._request.message.content_type

    @property
    def content_encoding(self) -> str:
        """The body's."""
        return self._request.message.content_encoding

    @property
    def correlation_id(self) -> str | None:
        """What its replies refer to."""
        return self._request.message.correlation_id

    @property
    def reply_to(self) -> str | None:
        """Where results are sent as messages."""
        return self._request.message.reply_to

    @property
    def request_dict(self) -> dict[str, Any]:
        """The message's headers."""
        if self._headers is None:
            self._headers = dict(headers.read(self._request.message))
        return self._headers

    @property
    def argsrepr(self) -> str | None:
        """The arguments, as text for people."""
        return self._text("argsrepr")

    @property
    def kwargsrepr(self) -> str | None:
        """The keyword arguments, as text for people."""
        return self._text("kwargsrepr")

    @property
    def root_id(self) -> str | None:
        """The task that started it all."""
        return self._request.root_id

    @property
    def parent_id(self) -> str | None:
        """The task that sent it."""
        return self._request.parent_id

    @property
    def group(self) -> str | None:
        """The id of its group."""
        return self._request.group_id

    @property
    def eta(self) -> float | None:
        """Unix seconds."""
        return self._request.eta

    @property
    def expires(self) -> float | None:
        """Unix seconds."""
        return self._request.expires

    @property
    def time_limits(self) -> tuple[float | None, float | None]:
        """Hard and soft, in seconds."""
        return self._request.time_limit, self._request.soft_time_limit

    @property
    def ignore_result(self) -> bool:
        """Whether nothing is kept of what it returns."""
        ignore = self._request.ignore_result
        return self._options.ignore_result if ignore is None else ignore

    @property
    def delivery_info(self) -> dict[str, Any]:
        """Which way it came."""
        message = self._request.message
        return {
            "exchange": message.exchange,
            "routing_key": message.routing_key,
            "priority": message.priority,
            "redelivered": self._delivery.redelivered,
        }

    def info(self, safe: bool = False) -> dict[str, Any]:
        """What ``inspect active`` and its like show of a request."""
        return {
            "id": self.id,
            "name": self.name,
            "args": self.argsrepr,
            "kwargs": self.kwargsrepr,
            "type": self.name,
            "delivery_info": self.delivery_info,
        }

    def humaninfo(self) -> str:
        """Name and id, as the log has them."""
        return f"{self.name}[{self.id}]"

    def _text(self, header: str) -> str | None:
        value = self.request_dict.get(header)
        return value if isinstance(value, str) else None


def create_request_cls(
    base: type[Request],
    task: Any,
    pool: Any,  # noqa: ARG001 - documented parameter
    hostname: str,
    eventer: Any,
    *_: Any,
    app: Any = None,
    **__: Any,
) -> type[Request]:
    """The class of requests of one task, for its strategy: what it is given is due, so that there
    is no ``eta`` any more."""

    class OfTask(base):  # type: ignore[misc,valid-type]
        @property
        def eta(self) -> None:
            """None."""

        def __init__(self, message: Any, *args: Any, **kwargs: Any) -> None:
            given = {"task": task, "hostname": hostname, "eventer": eventer, "app": app}
            super().__init__(message, *args, **{**given, **kwargs})

    OfTask.__name__ = OfTask.__qualname__ = base.__name__
    return OfTask
