"""Running a task here and now, as a worker would: ``Task.apply`` and ``task_always_eager``.

Source:
    Celery user guide, Testing; reference, ``Task.apply``: the request says ``is_eager``, retries
    happen at once, nothing is stored unless ``store_eager_result`` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from umbel.execution.context import Run
from umbel.execution.coroutines import Loops
from umbel.execution.execute import settle
from umbel.execution.failures import ExceptionInfo
from umbel.execution.prepared import Prepared
from umbel.execution.runnable import Runnable
from umbel.execution.tools import Tools
from umbel.model import Failed, Ignored, Outcome, Rejected, Request, Retried, Revoked, Succeeded
from umbel.states import FAILURE, IGNORED, REJECTED, RETRY, REVOKED, SUCCESS
from umbel.wire import tasks as wire_tasks
from umbel.wire.call import Call
from umbel.wire.tasks import Body, read_body

__all__ = ["Ended", "apply"]

Ended = tuple[str, Any, str | None]
"""State, value or exception, traceback."""

_STATE_BY_OUTCOME: dict[type[Outcome], str] = {
    Succeeded: SUCCESS,
    Failed: FAILURE,
    Retried: RETRY,
    Ignored: IGNORED,
    Rejected: REJECTED,
    Revoked: REVOKED,
}


def apply(
    task: Runnable, call: Call, tools: Tools, *, throw: bool, serialize: bool = False
) -> Ended:
    """Run ``call`` in this thread, retries included, and return how it ended.

    Args:
        throw: Raise what the task raises, a ``Retry`` included, instead of returning it.
        serialize: Let the arguments go through their serializer first, so that what a worker
            would never see is not seen here either.

    Raises:
        EncodeError: With ``serialize``: an argument cannot be serialized.
        Exception: With ``throw``: whatever the task raises.
    """
    prepared, loops = Prepared.of(task), Loops(tools.farewell)
    try:
        while True:
            run = _begin(task, call, tools, serialize=serialize)
            outcome = settle(run, prepared, loops)
            if throw and isinstance(outcome, Failed | Retried):
                raise cast("ExceptionInfo", run.failure).exception
            if not isinstance(outcome, Retried):
                break
            call = run.failure.exception.sig
    finally:
        loops.close()
    return _end(run, outcome)


def _begin(task: Runnable, call: Call, tools: Tools, *, serialize: bool) -> Run:
    headers_only = call
    if not serialize:
        headers_only = msgspec.structs.replace(
            call, args=(), kwargs={}, callbacks=None, errbacks=None, chain=None, chord=None
        )
    message = wire_tasks.encode(headers_only)
    request = Request(
        key=0,
        id=call.id,
        task=call.task,
        message=message,
        queue=call.routing_key,
        retries=call.retries,
        root_id=call.root_id or call.id,
        parent_id=call.parent_id,
        group_id=call.group_id,
        ignore_result=bool(call.ignore_result),
        time_limit=call.time_limit,
        soft_time_limit=call.soft_time_limit,
        protocol=call.protocol,
    )
    if serialize:
        body = read_body(request, accept=tools.accept | {message.content_type}, limit=tools.limit)
    else:
        body = Body(
            args=list(call.args),
            kwargs=dict(call.kwargs),
            callbacks=_list(call.callbacks),
            errbacks=_list(call.errbacks),
            chain=_list(call.chain),
            chord=call.chord,
        )
    keeps = task.options.store_eager_result and not bool(call.ignore_result)
    return Run(
        request,
        task,
        tools,
        body,
        tools.clock.monotonic(),
        bool(call.ignore_result),
        keeps,
        is_eager=True,
    )


def _end(run: Run, outcome: Outcome) -> Ended:
    tools = run.tools
    if not isinstance(outcome, Ignored) and outcome.record is not None:
        tools.store([outcome.record])
    _follow(run)
    state = _STATE_BY_OUTCOME[type(outcome)]
    if isinstance(outcome, Succeeded):
        return state, run.value, None
    return state, run.failure.exception, run.failure.traceback


def _follow(run: Run) -> None:
    request = run.request
    context = {"root_id": request.root_id or request.id, "parent_id": request.id}
    for signature, args, rest in run.following or ():
        run.tools.call_signature(signature, args, context, rest=rest)


def _list(signatures: Sequence[object] | None) -> list[Any] | None:
    return None if signatures is None else list(signatures)
