"""``celery.worker.request``: a request as receivers of signals and remote control see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.wire import headers

if TYPE_CHECKING:
    from umbel.model import Delivery, Message
    from umbel.worker.admission import Accepted

__all__ = ["Request"]


class Request:
    """Read-only; made only when somebody looks.

    Source:
        Celery reference, ``celery.worker.request.Request``: names of the properties.
    """

    def __init__(self, accepted: Accepted) -> None:
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
