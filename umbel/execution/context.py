"""The task that runs now, and what it may know of its own call (``self.request``).

What runs is a stack: a task that calls another one directly, or applies it eagerly, runs it on
top of itself. The stack follows the thread or the asyncio task, as context variables do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

import msgspec

from umbel.canvas.follow_up import Wave
from umbel.execution.runnable import Runnable
from umbel.execution.tools import Tools
from umbel.model import Message, Request
from umbel.protocols import Interrupts
from umbel.result.blocking import ask_whether_a_task_runs
from umbel.serialization.shapes import is_dict
from umbel.states import PENDING
from umbel.wire import headers as wire_headers
from umbel.wire.call import Call
from umbel.wire.tasks import Body

__all__ = [
    "Context",
    "Run",
    "call_directly",
    "caller_headers",
    "current",
    "current_task",
    "custom_headers",
    "enter",
    "leave",
    "of",
    "pop",
    "push",
    "update_state",
]

_DEATH_HEADERS = frozenset(
    {
        "x-death",
        "x-first-death-exchange",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
        "x-last-death-queue",
        "x-last-death-reason",
    }
)
"""What RabbitMQ adds when it dead-letters a message: about that message, not about the task."""


class Context:
    """A call, as the task sees it: every field of the message, and its custom headers.

    Source:
        Celery user guide, Tasks, "Task Request".
    """

    _children: list[Any] | None = None
    args: Any = None
    callbacks: Any = None
    called_directly: bool = True
    chain: Any = None
    chord: Any = None
    correlation_id: str | None = None
    delivery_info: dict[str, Any] | None = None
    errbacks: Any = None
    eta: str | None = None
    expires: Any = None
    group: str | None = None
    group_index: int | None = None
    headers: dict[str, Any] | None = None
    """The custom headers only."""
    hostname: str | None = None
    id: str | None = None
    ignore_result: bool | None = False
    is_eager: bool = False
    kwargs: Any = None
    logfile: str | None = None
    loglevel: int | None = None
    origin: str | None = None
    parent_id: str | None = None
    properties: dict[str, Any] | None = None
    retries: int = 0
    reply_to: str | None = None
    replaced_task_nesting: int = 0
    root_id: str | None = None
    shadow: str | None = None
    taskset: str | None = None
    timelimit: Any = None
    """``[hard, soft]``, in seconds."""
    time_limit: float | None = None
    soft_time_limit: float | None = None
    utc: bool | None = None
    stamped_headers: Sequence[str] | None = None
    stamps: Mapping[str, Any] | None = None

    def __init__(self, *args: Mapping[str, Any] | Iterable[tuple[str, Any]], **kwargs: Any) -> None:
        self.update(*args, **kwargs)
        if self.headers is None:
            self.headers = custom_headers(self.__dict__) or None

    def update(self, *args: Mapping[str, Any] | Iterable[tuple[str, Any]], **kwargs: Any) -> None:
        """Set fields, as ``dict.update`` does; ``timelimit`` also sets the two limits."""
        fields = self.__dict__
        fields.update(*args, **kwargs)
        limits = fields.get("timelimit")
        if limits:
            fields["time_limit"], fields["soft_time_limit"] = limits

    def clear(self) -> None:
        """Forget every field that was set."""
        self.__dict__.clear()

    def get(self, key: str, default: Any = None) -> Any:
        """A field, or ``default`` where there is none of that name."""
        return getattr(self, key, default)

    @property
    def children(self) -> list[Any]:
        """The results of the tasks this one has sent; part of its own result."""
        if self._children is None:
            self._children = []
        return self._children

    def as_execution_options(self) -> dict[str, Any]:
        """The options with which to send this call once more, under ``apply_async``'s names."""
        hard, soft = self.timelimit or (self.time_limit, self.soft_time_limit)
        options: dict[str, Any] = {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": soft,
            "time_limit": hard,
            "headers": {
                name: value
                for name, value in (self.headers or {}).items()
                if name not in _DEATH_HEADERS
            },
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }
        if self.stamped_headers is not None and self.stamps is not None:
            options["stamped_headers"] = self.stamped_headers
            options |= {
                name: self.stamps[name] for name in self.stamped_headers if name in self.stamps
            }
        return options

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Custom headers are attributes, whatever their names."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.__dict__!r}>"


_STANDARD = frozenset(name for name in vars(Context) if not name.startswith("_")) | {
    "_children",
    "argsrepr",
    "compression",
    "id",
    "kwargsrepr",
    "lang",
    "task",
}


def custom_headers(headers: Mapping[str, object]) -> dict[str, Any]:
    """What of a message's headers is the caller's own.

    >>> custom_headers({"id": "1", "lang": "py", "tenant": "a"})
    {'tenant': 'a'}
    """
    return {name: value for name, value in headers.items() if name not in _STANDARD}


def caller_headers(headers: Mapping[str, object]) -> dict[str, Any]:
    """The custom headers that go along when the call is sent once more.

    >>> caller_headers({"id": "1", "x-death": [], "tenant": "a"})
    {'tenant': 'a'}
    """
    return {
        name: value
        for name, value in headers.items()
        if name not in _DEATH_HEADERS and (name == "headers" or name not in _STANDARD)
    }


class Run(msgspec.Struct, eq=False):
    """One request while it runs. Made and read by one thread or asyncio task."""

    request: Request
    task: Runnable
    tools: Tools
    body: Body
    started: float
    """On the monotonic clock."""
    ignores_result: bool
    """Whether a success is not recorded: as the caller says, else as the task says."""
    keeps_result: bool
    """Whether a success is recorded; for eager runs, ``store_eager_result`` decides too."""
    is_eager: bool = False
    outer: Run | Pushed | None = None
    """What runs below: the task that applied this one eagerly."""
    entered: bool = False
    """Whether the task's ``__call__``, where it is overridden, has reached ``run``."""
    children: list[Any] | None = None
    """The results of the tasks this one has sent."""
    max_retries: int | None = None
    """What the task itself said last, by ``retry(max_retries=…)``."""
    overrides_max_retries: bool = False
    unsent: list[tuple[Call, Message]] | None = None
    """Retries the task has asked for; published with the outcome, whatever it is."""
    value: Any = None
    """What it returned."""
    failure: Any = None
    """What it raised: an ``ExceptionInfo``."""
    following: list[tuple[Any, tuple[Any, ...], Sequence[Any]]] | None = None
    """What follows an eager run: signatures, with what they are called with, and what is chained
    behind them in reverse. Otherwise follow-ups are messages in the outcome."""
    interrupts: Interrupts | None = None
    """What may raise exceptions in it, while its function runs."""
    replacement: Wave | None = None
    """What takes the task's place, when it has replaced itself."""
    _context: Context | None = None

    @property
    def args(self) -> Sequence[Any]:
        """The positional arguments."""
        return self.body.args

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The keyword arguments."""
        return self.body.kwargs

    @property
    def context(self) -> Context:
        """What the task sees as ``self.request``; made when it is first asked for."""
        if self._context is None:
            self._context = _context_of(self)
        return self._context

    def add_child(self, result: Any) -> None:
        """Note a task that this one has sent."""
        if self.children is None:
            self.children = []
        self.children.append(result)


class Pushed(msgspec.Struct, eq=False):
    """A task called like a function, or with a request pushed by hand."""

    task: Runnable
    context: Context
    outer: Run | Pushed | None


_top: ContextVar[Run | Pushed | None] = ContextVar("umbel_running", default=None)


def current() -> Run | None:
    """The request that runs now; what is sent meanwhile is sent by it."""
    top = _top.get()
    while isinstance(top, Pushed):
        top = top.outer
    return top


def current_task() -> Runnable | None:
    """The innermost task that runs now, even if it was called like a function."""
    top = _top.get()
    return None if top is None else top.task


def of(task: Runnable) -> Context:
    """The innermost call of ``task`` that runs now; an empty one when there is none."""
    top = _top.get()
    while top is not None:
        if top.task is task:
            return top.context
        top = top.outer
    return Context()


def enter(run: Run) -> Token[Run | Pushed | None]:
    """Make ``run`` the one that runs now, until :func:`leave`."""
    run.outer = _top.get()
    return _top.set(run)


def leave(token: Token[Run | Pushed | None]) -> None:
    """Undo :func:`enter`."""
    _top.reset(token)


def push(task: Runnable, context: Context) -> None:
    """Make ``context`` the request of ``task``, until :func:`pop`."""
    _top.set(Pushed(task, context, _top.get()))


def pop() -> Context | None:
    """Undo :func:`push`; returns what was pushed."""
    top = _top.get()
    if top is None or isinstance(top, Run):
        return None
    _top.set(top.outer)
    return top.context


def call_directly(
    task: Runnable, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Call ``function``, the body of ``task``, as a plain function call of the task does.

    The task then sees an empty request with ``called_directly`` set; except when its own
    ``__call__``, run by a worker, comes here through ``super().__call__``: then it is the
    worker's call still.
    """
    top = _top.get()
    if isinstance(top, Run) and top.task is task and not top.entered:
        top.entered = True
        if getattr(task.entry, "__func__", None) is type(task).__call__:
            return function(*args, **kwargs)
    token = _top.set(Pushed(task, Context(args=args, kwargs=kwargs), top))
    try:
        return function(*args, **kwargs)
    finally:
        _top.reset(token)


def update_state(
    task: Runnable,
    task_id: str | None,
    state: str | None,
    meta: object,
    tools: Tools | None = None,
) -> None:
    """Store a state of the task's own making, before going on.

    Args:
        task_id: Of another task; by default the one that runs.
        tools: With what to store it where no task runs.

    Raises:
        RuntimeError: There is neither a running task nor an id.
    """
    run = current()
    request = None if run is None else run.request
    tools = tools if run is None else run.tools
    subject = request if task_id is None or request is None or task_id == request.id else None
    if subject is None and task_id is not None:
        reply_to = None if request is None else request.message.reply_to
        message = Message(id=task_id, body=b"", reply_to=reply_to)
        subject = Request(key=0, id=task_id, task=task.name, message=message)
    if subject is None or tools is None:
        msg = f"{task.name}.update_state() needs a running task, or the id of one."
        raise RuntimeError(msg)
    tools.store([tools.codec.state(subject, state or PENDING, meta)])


def _context_of(run: Run) -> Context:
    request, message, body = run.request, run.request.message, run.body
    headers = wire_headers.read(message)
    if run.children is None:
        run.children = []
    context = Context()
    context.__dict__.update(headers)
    context.__dict__.update(
        _children=run.children,
        args=body.args,
        kwargs=body.kwargs,
        callbacks=body.callbacks,
        errbacks=body.errbacks,
        chain=body.chain,
        chord=body.chord,
        called_directly=False,
        is_eager=run.is_eager,
        id=request.id,
        task=request.task,
        root_id=request.root_id,
        parent_id=request.parent_id,
        group=request.group_id,
        taskset=request.group_id if request.protocol == 1 else None,
        retries=request.retries,
        ignore_result=run.ignores_result,
        time_limit=request.time_limit,
        soft_time_limit=request.soft_time_limit,
        timelimit=[request.time_limit, request.soft_time_limit],
        hostname=run.tools.hostname,
        correlation_id=message.correlation_id or request.id,
        reply_to=message.reply_to,
        utc=True,
        headers=_own_headers(headers),
        properties=_properties(request),
        delivery_info=_delivery_info(run),
    )
    return context


def _own_headers(headers: Mapping[str, object]) -> dict[str, Any] | None:
    """The caller's; those that are sent below ``headers`` once more are the ones that count."""
    nested = headers.get("headers")
    return dict(nested) if is_dict(nested) else custom_headers(headers) or None


def _delivery_info(run: Run) -> dict[str, Any]:
    message = run.request.message
    where: dict[str, Any] = {
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "priority": message.priority,
    }
    if run.is_eager:
        return {"is_eager": True, **where}
    return {**where, "redelivered": run.request.redelivered}


def _properties(request: Request) -> dict[str, Any]:
    message = request.message
    return {
        "delivery_mode": 2,
        **message.properties,
        "correlation_id": message.correlation_id or request.id,
        "reply_to": message.reply_to,
        "priority": message.priority,
        "delivery_info": {"exchange": message.exchange, "routing_key": message.routing_key},
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
    }


def _a_worker_runs_this() -> bool:
    run = current()
    return run is not None and not run.is_eager


ask_whether_a_task_runs(_a_worker_runs_this)
