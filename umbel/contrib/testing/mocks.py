"""Messages and contexts for unit tests, which no broker has seen.

Source:
    Celery reference, ``celery.contrib.testing.mocks``: names and arguments; Celery internals,
    "Message Protocol": versions 2 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock, Mock

from umbel.app.sending.ids import new_id
from umbel.serialization.registry import dumps
from umbel.utils.functional import maybe_list

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.canvas import Signature

__all__ = ["ContextMock", "TaskMessage", "TaskMessage1", "task_message_from_sig"]


def TaskMessage(  # noqa: N802 - Celery's name
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Sequence[Any] | None = None,
    errbacks: Sequence[Any] | None = None,
    chain: Sequence[Any] | None = None,
    shadow: str | None = None,
    utc: bool | None = None,
    **options: Any,
) -> Any:
    """A task message of protocol 2: ``headers``, ``body``, ``payload`` and the content's type.

    Args:
        utc: Accepted for Celery's sake; moments say their zone.
        options: More headers.
    """
    id = id or new_id()
    embed = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain}
    headers = {"id": id, "task": name, "shadow": shadow, **options}
    return _message(id, headers, (args, dict(kwargs or {}), embed))


def TaskMessage1(  # noqa: N802 - Celery's name
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Sequence[Any] | None = None,
    errbacks: Sequence[Any] | None = None,
    chain: Sequence[Any] | None = None,
    **options: Any,
) -> Any:
    """A task message of protocol 1: everything is in the body.

    Args:
        chain: Accepted for Celery's sake: that protocol has none.
        options: More fields.
    """
    id = id or new_id()
    payload = {
        "task": name,
        "id": id,
        "args": args,
        "kwargs": dict(kwargs or {}),
        "callbacks": callbacks,
        "errbacks": errbacks,
        **options,
    }
    return _message(id, {}, payload)


def task_message_from_sig(
    app: Umbel,
    sig: Signature,
    utc: bool = True,
    TaskMessage: Callable[..., Any] = TaskMessage,  # noqa: N803 - Celery's name
) -> Any:
    """The message of a signature, which gets its id: ``task_message_from_sig(app, add.s(2, 2))``.

    Args:
        TaskMessage: What makes it: :func:`TaskMessage`, :func:`TaskMessage1` or their like.
    """
    sig.freeze()
    options = dict(sig.options)
    callbacks, errbacks = options.pop("link", None), options.pop("link_error", None)
    countdown, eta = options.pop("countdown", None), options.pop("eta", None)
    return TaskMessage(
        sig.task,
        id=sig.id,
        args=sig.args,
        kwargs=sig.kwargs,
        callbacks=_plain(callbacks),
        errbacks=_plain(errbacks),
        eta=_moment(app, countdown or eta),
        expires=_moment(app, options.pop("expires", None)),
        utc=utc,
        **options,
    )


def ContextMock(*args: Any, **kwargs: Any) -> Any:  # noqa: N802 - Celery's name
    """A mock for ``with``: entering it gives itself, and errors pass."""
    mock = MagicMock(*args, **kwargs)
    mock.__enter__.return_value = mock
    mock.__exit__.return_value = None
    return mock


def _message(id: str, headers: dict[str, Any], payload: Any) -> Any:
    message = Mock(name=f"TaskMessage-{id}")
    message.headers = headers
    message.payload = payload
    message.content_type, message.content_encoding, message.body = dumps(payload, "json")
    return message


def _plain(signatures: Any) -> list[dict[str, Any]] | None:
    """One signature or several, as messages have them."""
    return [dict(each) for each in maybe_list(signatures)] if signatures else None


def _moment(app: Umbel, value: Any) -> Any:
    """Seconds from now, or a moment, as messages have it."""
    if isinstance(value, int | float) and value:
        value = app.now() + timedelta(seconds=value)
    return value.isoformat() if isinstance(value, datetime) else value or None
