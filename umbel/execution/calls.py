"""Functions that a worker's extensions have called in its pool, beside tasks.

They travel as requests of a name that no task can have: what comes from a broker under that name
is an unknown task, and is dropped before it gets anywhere near a pool.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umbel.model import Failed, Message, Outcome, Request, ResultRecord, Succeeded
from umbel.protocols import Clock
from umbel.states import FAILURE, SUCCESS

__all__ = ["CALL", "carry_out", "request_for", "result_of"]

CALL = "umbel: a function"
"""What such requests say in place of a task."""


def request_for(
    key: int, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Request:
    """What has a pool call the function.

    Raises:
        Exception: Whatever pickling the function or its arguments raises.
    """
    body = pickle.dumps((function, tuple(args), dict(kwargs)))
    return Request(key=key, id="", task=CALL, message=Message(id="", body=body))


def carry_out(request: Request, clock: Clock) -> Outcome:
    """Call the function, here; what it returns or raises is in the outcome."""
    started = clock.monotonic()
    try:
        function, args, kwargs = pickle.loads(request.message.body)  # noqa: S301 - see above
        body = pickle.dumps(function(*args, **kwargs))
    except BaseException as error:
        record = ResultRecord(id="", state=FAILURE, body=_pickled(error))
        runtime = clock.monotonic() - started
        return Failed(key=request.key, runtime=runtime, record=record, reason=repr(error))
    return Succeeded(
        key=request.key,
        runtime=clock.monotonic() - started,
        record=ResultRecord(id="", state=SUCCESS, body=body),
    )


def result_of(outcome: Outcome) -> tuple[bool, Any]:
    """Whether a call has returned, and what; else what it raised."""
    if isinstance(outcome, Succeeded | Failed) and outcome.record is not None:
        value = pickle.loads(outcome.record.body)  # noqa: S301 - written by carry_out
        return isinstance(outcome, Succeeded), value
    return False, RuntimeError(getattr(outcome, "reason", "") or repr(outcome))


def _pickled(error: BaseException) -> bytes:
    try:
        body = pickle.dumps(error)
        pickle.loads(body)  # noqa: S301 - written here
    except Exception:
        return pickle.dumps(RuntimeError(repr(error)))
    return body
