"""What pools are given to run: tasks by name, and everything they need."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from umbel.exceptions import NotRegistered
from umbel.execution import calls, failures
from umbel.execution.coroutines import Loops
from umbel.execution.execute import aexecute, execute
from umbel.execution.failures import logger
from umbel.execution.prepared import Prepared
from umbel.execution.runnable import Runnable
from umbel.execution.tools import Tools
from umbel.execution.tracing import prepare
from umbel.model import Failed, Outcome, Request
from umbel.protocols import Interrupts

__all__ = ["TaskRunner"]


class TaskRunner:
    """Runs requests for the tasks of one app. A ``umbel.protocols.Runner``."""

    def __init__(self, tasks: Mapping[str, Runnable], tools: Tools) -> None:
        self._tasks = tasks
        self._tools = tools if tools.tasks else msgspec.structs.replace(tools, tasks=tasks)
        self._loops = Loops(tools.farewell)
        # Grows with the program's tasks only.
        self._prepared: dict[str, Prepared] = {}

    def open(self, interrupts: Interrupts) -> None:
        """Tasks can be interrupted from now on; they are looked at when their first request
        comes."""
        self._tools = msgspec.structs.replace(self._tools, interrupts=interrupts)

    def close(self) -> None:
        """End the event loops of ``async def`` tasks. No request may be running."""
        self._loops.close()

    def run(self, request: Request) -> Outcome:
        """Run a request in this thread, to its end."""
        task = self._prepared.get(request.task) or self._prepare(request.task)
        if task is None:
            return self._unknown(request)
        return execute(request, task, self._tools, self._loops)

    async def arun(self, request: Request) -> Outcome:
        """Run a request on the running loop; a task that is not ``async def`` blocks it."""
        task = self._prepared.get(request.task) or self._prepare(request.task)
        if task is None:
            return self._unknown(request)
        return await aexecute(request, task, self._tools)

    def is_async(self, request: Request) -> bool:
        """Whether the request's task is ``async def``."""
        task = self._prepared.get(request.task) or self._prepare(request.task)
        return task is not None and task.is_coroutine

    def _prepare(self, name: str) -> Prepared | None:
        task = self._tasks.get(name)
        if task is None:
            return None
        self._prepared[name] = prepared = prepare(task, self._loops, self._tools.hostname)
        return prepared

    def _unknown(self, request: Request) -> Outcome:
        if request.task == calls.CALL:
            return calls.carry_out(request, self._tools.clock)
        # The worker drops these before; here, only a child with other code than its parent.
        logger.error("Task %s[%s] %r", request.task, request.id, NotRegistered(request.task))
        record = failures.unregistered(request, self._tools.codec)
        return Failed(key=request.key, runtime=0.0, record=record)
