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

from umbel.canvas import endings, follow_up
from umbel.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    Ignore,
    InvalidTaskError,
    Reject,
    Retry,
    SecurityError,
    TaskCancelled,
    TooLarge,
)
from umbel.execution import errbacks, failures, hooks, retries, tracing
from umbel.execution.context import Run, custom_headers, enter, leave
from umbel.execution.coroutines import Loops
from umbel.execution.failures import ExceptionInfo, logger
from umbel.execution.membership import member
from umbel.execution.prepared import Prepared
from umbel.execution.tools import Tools
from umbel.model import (
    Arrival,
    Failed,
    Ignored,
    Message,
    Outcome,
    Rejected,
    Request,
    ResultRecord,
    Retried,
    Revoked,
    Succeeded,
)
from umbel.protocols import Interrupts
from umbel.result.base import ResultBase
from umbel.signals import task_prerun
from umbel.states import RETRY
from umbel.utils.saferepr import saferepr
from umbel.wire.news import Ending, ending
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
    if task.tracer is not None:
        return _surrounded(run, task, task.tracer, loops)
    return settle(run, task, loops)


def settle(run: Run, task: Prepared, loops: Loops) -> Outcome:
    """The part of :func:`execute` that comes when the body has been read."""
    token = enter(run)
    try:
        if task.is_watched or task_prerun.receivers or run.tools.task_init is not None:
            hooks.before(run, task)
        request, interrupts = run.request, run.tools.interrupts
        if interrupts is not None and (
            interrupts.every
            or request.soft_time_limit is not None
            or request.time_limit is not None
        ):
            return _returned(run, task, _interruptibly(run, task, loops, interrupts))
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


def _interruptibly(run: Run, task: Prepared, loops: Loops, interrupts: Interrupts) -> Any:
    """Call the function where exceptions from outside may be raised in it."""
    run.interrupts = interrupts
    try:
        interrupts.begin(run.request)
        value = task.entry(*run.body.args, **run.body.kwargs)
        if task.is_coroutine or value.__class__ is CoroutineType:  # see settle
            value = loops.drive(value, interrupts)
        return value
    finally:
        # An exception that is on its way arrives now, at the latest: then it was the task's.
        try:
            interrupts.end()
        except BaseException:
            interrupts.end()
            raise


def _surrounded(run: Run, task: Prepared, tracer: tracing.Tracer, loops: Loops) -> Outcome:
    """The same, inside what others have put around it."""
    try:
        return tracing.surround(run, tracer, lambda: settle(run, task, loops))
    except BaseException as error:
        # As in settle: it is no reason for the worker to end.
        token = enter(run)
        try:
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
    except (DecodeError, InvalidTaskError, TooLarge, ContentDisallowed) as error:
        return _unreadable(request, error, tools.codec.failed(request, error, None))
    except SecurityError as error:
        # Who signs for nobody we trust is not to end a task, or a chord, by naming it.
        return _unreadable(request, error, None)
    asked = request.ignore_result
    ignores = task.options.ignore_result if asked is None else asked
    return Run(request, task.task, tools, body, started, ignores, not ignores)


def _unreadable(request: Request, error: Exception, record: ResultRecord | None) -> Rejected:
    logger.error(
        "Task %s[%s] rejected, its message cannot be read: %s", request.task, request.id, error
    )
    reason = f"{type(error).__name__}: {error}"
    return Rejected(
        key=request.key,
        requeue=False,
        record=record,
        reason=reason,
        arrivals=() if record is None else endings.unread(request.message, record),
    )


def _returned(run: Run, task: Prepared, value: Any) -> Succeeded:
    request, body, tools = run.request, run.body, run.tools
    runtime = tools.clock.monotonic() - run.started
    run.value = value
    wave = follow_up.NOTHING
    messages: Sequence[Message] = ()
    if body.callbacks or body.chain:
        wave, messages = _continue(run, value)
    record, codec, kept = None, tools.codec, value
    if isinstance(value, ResultBase) and not codec.keeps_objects:
        # As Celery's backends do: result_from_tuple makes a result of it again.
        kept = value.as_tuple()
    if run.keeps_result:
        record = codec.succeeded(
            request,
            kept,
            children=_children(run, wave) if run.children or wave.children else (),
            extra=_extra(run) if codec.extended else None,
        )
    if run.unsent:
        messages = (*_unsent(run), *messages)
    arrivals: tuple[Arrival, ...] = ()
    if body.chord is not None and not run.is_eager:
        ended = record or codec.succeeded(request, kept)
        arrivals = endings.arrived(member(request, body), ended).arrivals
    hooks.succeeded(run, task, value, runtime)
    return Succeeded(
        key=request.key,
        runtime=runtime,
        record=record,
        follow_ups=tuple(messages),
        told=_told(run, task, value, runtime) if request.tell else None,
        expect=wave.expect,
        arrivals=arrivals,
    )


def _continue(run: Run, value: object) -> tuple[follow_up.Wave, Sequence[Message]]:
    """What is called with the value."""
    request, body = run.request, run.body
    if run.is_eager:
        run.following = [(callback, (value,), ()) for callback in body.callbacks or ()]
        if body.chain:
            run.following.append((body.chain[-1], (value,), body.chain[:-1]))
        return follow_up.NOTHING, ()
    wave = follow_up.after_success(
        value,
        id=request.id,
        root_id=request.root_id,
        callbacks=body.callbacks,
        chain=body.chain,
    )
    return wave, _encode(run, wave)


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
        if run.replacement is not None:
            wave = run.replacement
            return Ignored(
                key=run.request.key,
                runtime=_runtime(run),
                follow_ups=tuple(_encode(run, wave)),
                expect=wave.expect,
            )
        ending = _ending(run, error, None)
        return Ignored(key=run.request.key, runtime=_runtime(run), arrivals=ending.arrivals)
    if isinstance(error, Reject):
        return _rejected(run, error)
    if isinstance(error, TaskCancelled):
        # The pool raised it, and knows why.
        hooks.cancelled(run, error)
        return Revoked(key=run.request.key, record=None, runtime=_runtime(run))
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
    ending = endings.NOTHING if error.requeue else _ending(run, error, record)
    return Rejected(
        key=run.request.key,
        requeue=error.requeue,
        record=record,
        reason=failures.describe(error),
        runtime=_runtime(run),
        tail=ending.tail if run.keeps_result else (),
        arrivals=ending.arrivals,
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
    ending = _ending(run, error, record, info.traceback)
    wave = follow_up.NOTHING
    messages = _unsent(run)
    if run.body.errbacks:
        wave, called = _errback_messages(run, info)
        messages = (*messages, *called)
    hooks.failed(run, task, info)
    return Failed(
        key=request.key,
        runtime=runtime,
        record=record,
        follow_ups=messages,
        expect=wave.expect,
        tail=ending.tail if record is not None else (),
        arrivals=ending.arrivals,
        shown=_shown(run, error, info),
    )


def _ending(
    run: Run, error: BaseException, record: ResultRecord | None, traceback: str | None = None
) -> endings.Ending:
    """What does not come because this task has not succeeded; for eager ones, nothing waits."""
    body, codec = run.body, run.tools.codec
    if run.is_eager or (body.chord is None and not body.chain):
        return endings.NOTHING
    if record is None:
        record = codec.failed(run.request, error, traceback)
    return endings.ended(member(run.request, body), record, error, traceback, codec)


def _errback_messages(run: Run, info: ExceptionInfo) -> tuple[follow_up.Wave, Sequence[Message]]:
    request = run.request
    try:
        published = errbacks.call_here(run, info)
        if run.is_eager:
            run.following = [(errback, (request.id,), ()) for errback in published]
            return follow_up.NOTHING, ()
        wave = follow_up.after_failure(id=request.id, root_id=request.root_id, errbacks=published)
        return wave, _encode(run, wave)
    except (EncodeError, InvalidTaskError) as error:
        # The task has failed already; that its error callbacks cannot be sent is another line.
        failures.report(run, failures.INTERNAL, ExceptionInfo(error, internal=True))
        return follow_up.NOTHING, ()


def _encode(run: Run, wave: follow_up.Wave) -> Sequence[Message]:
    # Whoever waits for what follows waits where the first task was sent from.
    return run.tools.encode(wave.steps, run.request.message.reply_to)


def _unsent(run: Run) -> tuple[Message, ...]:
    return tuple(message for _, message in run.unsent or ())


def _told(run: Run, task: Prepared, value: object, runtime: float) -> Ending:
    """Its part of the events that say that it has succeeded."""
    request = run.request
    result = saferepr(value, task.options.resultrepr_maxsize)
    now = run.tools.clock.time()
    return ending(request.tell, request.id, result=result, runtime=runtime, now=now)


def _shown(run: Run, error: BaseException, info: ExceptionInfo) -> tuple[str, str] | None:
    """The exception and its traceback, for people, if they want to see them."""
    return (failures.describe(error), info.traceback) if run.request.tell else None


def _keeps_errors(run: Run, task: Prepared) -> bool:
    if run.is_eager and not task.options.store_eager_result:
        return False
    return not run.ignores_result or task.options.store_errors_even_if_ignored


def _runtime(run: Run) -> float:
    return run.tools.clock.monotonic() - run.started


def _children(run: Run, wave: follow_up.Wave = follow_up.NOTHING) -> Sequence[Any]:
    """The results of what the task has sent, and of what is sent because it returned."""
    sent = [
        child.as_tuple() if hasattr(child, "as_tuple") else child for child in run.children or ()
    ]
    if run.task.options.trail:
        sent += wave.children
    return sent


def _extra(run: Run) -> dict[str, object] | None:
    if not run.tools.codec.extended:
        return None
    request = run.request
    # Beside the message's headers, what the task has put there.
    headers = {"headers": custom_headers(vars(run.context))} if run.tools.codec.whole else {}
    return {
        **headers,
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
