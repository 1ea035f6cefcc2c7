"""A task and everything around it, in memory: requests go in, outcomes come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any

import msgspec
import pytest

from umbel.canvas.follow_up import Step
from umbel.clock import ManualClock
from umbel.execution import context, retries
from umbel.execution.context import Context
from umbel.execution.runnable import TaskOptions
from umbel.execution.runner import TaskRunner
from umbel.execution.tools import Tools
from umbel.model import Delivery, Message, Outcome, Request, ResultRecord
from umbel.wire import headers as wire_headers
from umbel.wire import tasks as wire_tasks
from umbel.wire.call import Call
from umbel.wire.results import ResultCodec, ResultMeta

JSON = frozenset({"application/json"})
LIMIT = 1 << 20
_HANDLERS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")


class Job:
    """A task as the app makes one, without the app."""

    def __init__(self, name: str, function: Callable[..., Any], **options: Any) -> None:
        self.name = name
        self.function = function
        self.run = MethodType(function, self)
        self.options = TaskOptions(**options)
        self.told: list[tuple[Any, ...]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return context.call_directly(self, self.run, args, kwargs)

    @property
    def entry(self) -> Callable[..., Any]:
        return self.run if type(self).__call__ is Job.__call__ else self.__call__

    @property
    def is_coroutine(self) -> bool:
        return bool(self.function.__code__.co_flags & 0x80)

    @property
    def listens(self) -> frozenset[str]:
        return frozenset(name for name in _HANDLERS if hasattr(self, name))

    @property
    def request(self) -> Context:
        return context.of(self)

    def retry(self, **options: Any) -> Exception:
        named = ("args", "kwargs", "exc", "throw", "eta", "countdown", "max_retries")
        given = {name: options.pop(name) for name in named if name in options}
        return retries.retry(self, **given, options=options)


class Listening(Job):
    """A task with every handler."""

    def before_start(self, *args: Any) -> None:
        self.told.append(("before_start", *args))

    def on_success(self, *args: Any) -> None:
        self.told.append(("on_success", *args))

    def on_failure(self, *args: Any) -> None:
        self.told.append(("on_failure", *args))

    def on_retry(self, *args: Any) -> None:
        self.told.append(("on_retry", *args))

    def after_return(self, *args: Any) -> None:
        self.told.append(("after_return", *args))


class Bench:
    """Tasks, the tools to run them, and what came out."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.codec = ResultCodec(clock=self.clock)
        self.stored: list[ResultRecord] = []
        self.published: list[Message] = []
        self.followed: list[tuple[str, Sequence[Any], list[str]]] = []
        """What an eager run called when it had ended: task, arguments, what is chained behind."""
        self.tasks: dict[str, Any] = {}
        self.tools = Tools(
            codec=self.codec,
            accept=JSON,
            limit=LIMIT,
            hostname="celery@here",
            clock=self.clock,
            store=self.stored.extend,
            publish=self.published.extend,
            encode=encode,
            call_signature=self.call_signature,
            tasks=self.tasks,
        )
        self.runner = TaskRunner(self.tasks, self.tools)

    def call_signature(
        self,
        signature: Mapping[str, Any],
        args: Sequence[Any],
        context: Mapping[str, Any],
        *,
        rest: Sequence[Any] = (),
    ) -> None:
        self.followed.append((signature["task"], args, [link["task"] for link in rest]))

    def task(
        self, function: Callable[..., Any], kind: type[Job] | None = None, **options: Any
    ) -> Any:
        name = options.pop("name", "tasks.it")
        kind = kind or (Listening if options.pop("listening", False) else Job)
        self.tasks[name] = job = kind(name, function, **options)
        return job

    def request(self, *args: Any, **call: Any) -> Request:
        call.setdefault("task", "tasks.it")
        call.setdefault("id", "id-1")
        call.setdefault("args", args)
        return understand(wire_tasks.encode(Call(**call)))

    def run(self, *args: Any, **call: Any) -> Any:
        return self.runner.run(self.request(*args, **call))

    async def arun(self, *args: Any, **call: Any) -> Outcome:
        return await self.runner.arun(self.request(*args, **call))

    def understand(self, message: Message, *, redelivered: bool = False) -> Request:
        """The request of a message that a broker has handed out."""
        return understand(message, redelivered=redelivered)

    def called(self, message: Message) -> tuple[str, list[Any], dict[str, Any]]:
        """Which task a message asks for, and with what."""
        body = self.body(message)
        return str(self.headers(message)["task"]), body.args, body.kwargs

    def body(self, message: Message) -> wire_tasks.Body:
        """The body of a message."""
        return wire_tasks.read_body(understand(message), accept=JSON, limit=LIMIT)

    def headers(self, message: Message) -> dict[str, Any]:
        """The headers of a message."""
        return wire_headers.read(message)

    def garbled(self, request: Request, **fields: Any) -> Request:
        """The request with another message than its headers promise."""
        message = msgspec.structs.replace(request.message, **fields)
        return msgspec.structs.replace(request, message=message)

    def with_tools(self, **changes: Any) -> TaskRunner:
        """A runner with other tools."""
        return TaskRunner(self.tasks, msgspec.structs.replace(self.tools, **changes))

    def read(self, record: ResultRecord | None) -> ResultMeta:
        assert record is not None
        return self.codec.read(record)


def understand(message: Message, *, redelivered: bool = False) -> Request:
    """The request of a message that a broker has handed out."""
    delivery = Delivery(message=message, queue="celery", tag="1", redelivered=redelivered)
    return wire_tasks.decode(delivery, key=7, accept=JSON, limit=LIMIT)


def encode(steps: Sequence[Step], reply_to: str | None) -> list[Message]:
    """What the app does, with every task in one queue."""
    return [encode_one(step.signature, step.args, reply_to) for step in steps]


def encode_one(sig: Mapping[str, Any], args: Sequence[object], reply_to: str | None) -> Message:
    options = sig["options"]
    fields = {
        "callbacks": options.get("link"),
        "errbacks": options.get("link_error"),
        "chord": options.get("chord"),
    }
    given = ("chain", "root_id", "parent_id", "group_id", "group_index")
    fields.update({name: options.get(name) for name in given})
    return wire_tasks.encode(
        Call(
            task=sig["task"],
            id=options["task_id"],
            args=args,
            kwargs=sig.get("kwargs", {}),
            reply_to=reply_to,
            **fields,
        )
    )


@pytest.fixture
def bench() -> Bench:
    return Bench()
