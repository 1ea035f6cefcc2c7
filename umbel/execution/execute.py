"""Run one request and say what came of it: the only caller of user code.

Three steps: :func:`_begin`, the call, and :func:`_returned` or :func:`_raised`. The synchronous
and the asynchronous way differ in the call alone. What a run comes to, follow-up messages
included, is a value; nothing is published, stored or acknowledged here, except what the task asks
for while it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import CoroutineType
from typing import Any

from umbel.canvas import follow_up
from umbel.exceptions import (
    DecodeError,
    EncodeError,
    Ignore,
    InvalidTaskError,
    Reject,
    Retry,
    SecurityError,
    TooLarge,
)
from umbel.execution import errbacks, failures, hooks, retries
from umbel.execution.context import Run, enter, leave
from umbel.execution.coroutines import Loops
from umbel.execution.failures import ExceptionInfo, logger
from umbel.execution.prepared import Prepared
from umbel.execution.tools import Tools
from umbel.model import (
    Failed,
    Ignored,
    Message,
    Outcome,
    Rejected,
    Request,
    ResultRecord,
    Retried,
    Succeeded,
)
from umbel.signals import task_prerun
from umbel.states import RETRY
from umbel.utils.saferepr import saferepr
from umbel.wire.tasks import read_body

__all__ = ["aexecute", "execute", "settle"]


def execute(request: Request, task: Prepared, tools: Tools, loops: Loops) -> Outcome:
    """Run one request in this thread. Never raises for what user code does.

    Soft time limits arrive as ``SoftTimeLimitExceeded`` inside the task; hard ones never get here:
    the pool ends the process and reports ``Failed(cause="time-limit")``.
    """
    run = _understand(request, task, tools)
    if isinstance(run, Rejected):
        return run
    return settle(run, task, loops)


def settle(run: Run, task: Prepared, loops: Loops) -> Outcome:
    """The part of :func:`execute` that comes when the body has been read."""
    token = enter(run)
    try:
        if task.is_watched or task_prerun.receivers or run.tools.task_init is not None:
            hooks.before(run, task)
        value = task.entry(*run.body.args, **run.body.kwargs)
        # The latter: a plain decorator around an async function.
        if task.is_coroutine or value.__class__ is CoroutineType:
            value = loops.drive(value)
        return _returned(run, task, value)
    except BaseException as error:
        # The one place where user code meets the worker. A task that raises SystemExit, or an
        # exception that is not an Exception at all, has failed; its worker has not.
        return _raised(run, task, error)
    finally:
        leave(token)


async def aexecute(request: Request, task: Prepared, tools: Tools) -> Outcome:
    """Run one request on the running loop, which a task without ``async def`` blocks.

    Raises:
        CancelledError: The asyncio task was cancelled from outside: whoever did it knows why.
    """
    run = _understand(request, task, tools)
    if isinstance(run, Rejected):
        return run
    token = enter(run)
    try:
        if task.is_watched or task_prerun.receivers or tools.task_init is not None:
            hooks.before(run, task)
        value = task.entry(*run.body.args, **run.body.kwargs)
        if task.is_coroutine or value.__class__ is CoroutineType:  # see settle
            value = await value
        return _returned(run, task, value)
    except BaseException as error:  # see settle
        if _is_cancellation(error):
            raise
        return _raised(run, task, error)
    finally:
        leave(token)


def _understand(request: Request, task: Prepared, tools: Tools) -> Run | Rejected:
    started = tools.clock.monotonic()
    try:
        body = read_body(request, accept=tools.accept, limit=tools.limit)
    except (DecodeError, InvalidTaskError, TooLarge) as error:
        return _unreadable(request, error, tools.codec.failed(request, error, None))
    except SecurityError as error:
        # Who sends what is refused gets no answer: there is no telling what it is.
        return _unreadable(request, error, None)
    asked = request.ignore_result
    ignores = task.options.ignore_result if asked is None else asked
    return Run(request, task.task, tools, body, started, ignores, not ignores)


def _unreadable(request: Request, error: Exception, record: ResultRecord | None) -> Rejected:
    logger.error(
        "Task %s[%s] rejected, its message cannot be read: %s", request.task, request.id, error
    )
    reason = f"{type(error).__name__}: {error}"
    return Rejected(key=request.key, requeue=False, record=record, reason=reason)


def _returned(run: Run, task: Prepared, value: Any) -> Succeeded:
    request, body, tools = run.request, run.body, run.tools
    runtime = tools.clock.monotonic() - run.started
    run.value = value
    messages: Sequence[Message] = ()
    if body.callbacks or body.chain or run.unsent:
        steps = follow_up.after_success(
            value,
            id=request.id,
            root_id=request.root_id,
            callbacks=body.callbacks,
            chain=body.chain,
        )
        messages = _encode(run, steps)
    record = None
    if run.keeps_result:
        codec = tools.codec
        record = codec.succeeded(
            request,
            value,
            children=_children(run, messages) if run.children or messages else (),
            extra=_extra(run) if codec.extended else None,
        )
    if run.unsent:
        messages = (*_unsent(run), *messages)
    hooks.succeeded(run, task, value, runtime)
    return Succeeded(
        key=request.key,
        runtime=runtime,
        record=record,
        follow_ups=tuple(messages),
        shown=saferepr(value, task.options.resultrepr_maxsize) if request.tell else None,
    )


def _raised(run: Run, task: Prepared, error: BaseException) -> Outcome:
    error = retries.again(run, error)
    if isinstance(error, Retry):
        try:
            return _retried(run, task, error)
        except EncodeError as trouble:
            error = trouble
    if isinstance(error, Ignore):
        run.failure = ExceptionInfo(error, internal=True)
        hooks.ignored(run, error, run.failure)
        return Ignored(key=run.request.key, runtime=_runtime(run))
    if isinstance(error, Reject):
        return _rejected(run, error)
    return _failed(run, task, error)


def _retried(run: Run, task: Prepared, wanted: Retry) -> Retried:
    info = run.failure = ExceptionInfo(wanted)
    message = retries.sent_with(run, wanted)
    record = None
    if _keeps_errors(run, task):
        record = run.tools.codec.state(run.request, RETRY, wanted.exc, traceback=info.traceback)
    hooks.retried(run, task, wanted, info)
    return Retried(
        key=run.request.key,
        runtime=_runtime(run),
        record=record,
        message=message,
        shown=_shown(run, wanted.exc or wanted, info),
    )


def _rejected(run: Run, error: Reject) -> Rejected:
    info = run.failure = ExceptionInfo(error, internal=True)
    record = None
    if not error.requeue and run.keeps_result:
        # It will not come back; whoever waits for it shall not wait for ever.
        record = run.tools.codec.failed(run.request, error, info.traceback)
    hooks.rejected(run, error, info)
    return Rejected(
        key=run.request.key,
        requeue=error.requeue,
        record=record,
        reason=failures.describe(error),
        runtime=_runtime(run),
    )


def _failed(run: Run, task: Prepared, error: BaseException) -> Failed:
    request, tools = run.request, run.tools
    runtime = _runtime(run)
    info = run.failure = ExceptionInfo(error)
    record = None
    if _keeps_errors(run, task):
        record = tools.codec.failed(
            request, error, info.traceback, children=_children(run), extra=_extra(run)
        )
        tail = failures.chain_tail(tools.codec, run.body.chain, error, info.traceback)
        if tail and not run.is_eager:
            tools.store(tail)
    messages = _unsent(run)
    if run.body.errbacks:
        messages = (*messages, *_errback_messages(run, info))
    hooks.failed(run, task, info)
    return Failed(
        key=request.key,
        runtime=runtime,
        record=record,
        follow_ups=messages,
        shown=_shown(run, error, info),
    )


def _errback_messages(run: Run, info: ExceptionInfo) -> Sequence[Message]:
    try:
        published = errbacks.call_here(run, info)
        return _encode(
            run,
            follow_up.after_failure(
                id=run.request.id, root_id=run.request.root_id, errbacks=published
            ),
        )
    except (EncodeError, InvalidTaskError) as error:
        # The task has failed already; that its error callbacks cannot be sent is another line.
        failures.report(run, failures.INTERNAL, ExceptionInfo(error, internal=True))
        return ()


def _encode(run: Run, steps: Sequence[follow_up.Step]) -> Sequence[Message]:
    if run.is_eager:
        run.steps = [*(run.steps or ()), *steps]
        return ()
    encode = run.tools.encode_signature
    return [encode(step.signature, step.args, parent=run.request) for step in steps]


def _unsent(run: Run) -> tuple[Message, ...]:
    return tuple(message for _, message in run.unsent or ())


def _shown(run: Run, error: BaseException, info: ExceptionInfo) -> tuple[str, str] | None:
    """The exception and its traceback, for people, if they want to see them."""
    return (failures.describe(error), info.traceback) if run.request.tell else None


def _keeps_errors(run: Run, task: Prepared) -> bool:
    if run.is_eager and not task.options.store_eager_result:
        return False
    return not run.ignores_result or task.options.store_errors_even_if_ignored


def _runtime(run: Run) -> float:
    return run.tools.clock.monotonic() - run.started


def _children(run: Run, follow_ups: Sequence[Message] = ()) -> Sequence[Any]:
    """The results of what the task has sent, and of what is sent because it returned."""
    sent = [
        child.as_tuple() if hasattr(child, "as_tuple") else child for child in run.children or ()
    ]
    if run.task.options.trail:
        sent += [((message.id, None), None) for message in follow_ups]
    return sent


def _extra(run: Run) -> dict[str, object] | None:
    if not run.tools.codec.extended:
        return None
    request = run.request
    return {
        "name": request.task,
        "args": run.body.args,
        "kwargs": run.body.kwargs,
        "worker": run.tools.hostname,
        "retries": request.retries,
        "queue": request.queue or request.message.routing_key,
    }


def _is_cancellation(error: BaseException) -> bool:
    # Only called on a running loop, which has imported asyncio long before.
    from asyncio import CancelledError, current_task

    task = current_task()
    return isinstance(error, CancelledError) and task is not None and task.cancelling() > 0
