"""What a cluster looks like, as its events tell.

Source:
    Celery reference, ``celery.events.state``: names, arguments, order and limits.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any
from weakref import WeakSet

from umbel import states
from umbel.events import nodes
from umbel.events.nodes import Task, Worker, heartbeat_expires
from umbel.events.recent import Recent

__all__ = ["State", "Task", "Worker", "heartbeat_expires"]

_Moment = tuple[int, float, str]
"""Logical clock, Unix seconds, task id: what tasks are ordered by."""


class _Index(defaultdict[str, "WeakSet[Task]"]):
    """Tasks by something; called, it gives them in the order of time."""

    def __init__(self, ordered: Callable[..., Iterator[tuple[str, Task]]]) -> None:
        super().__init__(WeakSet)
        self._ordered = ordered

    def __call__(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, Task]]:
        return self._ordered(*args, **kwargs)


class State:
    """Keeps what events say of workers and tasks, as much as fits. Thread-safe."""

    Worker: type[nodes.Worker] = nodes.Worker
    Task: type[nodes.Task] = nodes.Task
    event_count = 0
    """How many events there were."""
    task_count = 0
    """How many tasks workers have received."""
    heap_multiplier = 4
    """Events that are kept in order for each task."""

    def __init__(
        self,
        callback: Callable[[State, Mapping[str, Any]], object] | None = None,
        workers: Recent[str, nodes.Worker] | None = None,
        tasks: Recent[str, nodes.Task] | None = None,
        taskheap: list[_Moment] | None = None,
        max_workers_in_memory: int = 5000,
        max_tasks_in_memory: int = 10000,
        on_node_join: Callable[[nodes.Worker], object] | None = None,
        on_node_leave: Callable[[nodes.Worker], object] | None = None,
        tasks_by_type: Mapping[str, Iterable[str]] | None = None,
        tasks_by_worker: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        """Make one.

        Args:
            callback: Called with the state and each event, before it is taken note of.
            on_node_join: Called with each worker that turns up.
            on_node_leave: Called with each worker that says that it goes.
        """
        self.event_callback = callback
        self.workers: Recent[str, nodes.Worker] = (
            Recent(max_workers_in_memory) if workers is None else workers
        )
        self.tasks: Recent[str, nodes.Task] = (
            Recent(max_tasks_in_memory) if tasks is None else tasks
        )
        self._taskheap: list[_Moment] = [] if taskheap is None else taskheap
        self.max_workers_in_memory = max_workers_in_memory
        self.max_tasks_in_memory = max_tasks_in_memory
        self.on_node_join = on_node_join
        self.on_node_leave = on_node_leave
        self.handlers: dict[str, Callable[[str, Mapping[str, Any]], Any]] = {}
        """What takes events of other groups, by group: a function of what follows the group in
        the type, and the event."""
        self._mutex = threading.Lock()
        self._seen_types: set[str] = set()
        self._orphans: Recent[str, WeakSet[nodes.Task]] = Recent(max_tasks_in_memory)
        self.tasks_by_type = _Index(self._tasks_by_type)
        self.tasks_by_worker = _Index(self._tasks_by_worker)
        for index, ids_by_name in (
            (self.tasks_by_type, tasks_by_type),
            (self.tasks_by_worker, tasks_by_worker),
        ):
            for name, ids in (ids_by_name or {}).items():
                index[name].update(task for id in ids if (task := self.tasks.peek(id)) is not None)
        for task in self.tasks.values():
            task.cluster_state = self
        self.rebuild_taskheap()

    def event(self, event: dict[str, Any]) -> Any:
        """Take note of an event.

        Returns:
            ``((worker or task, whether it is new), what follows the group in the type)``, or None.
        """
        with self._mutex:
            return self._event(event)

    def _event(self, event: dict[str, Any]) -> Any:
        self.event_count += 1
        if self.event_callback is not None:
            self.event_callback(self, event)
        group, _, subject = str(event["type"]).partition("-")
        handler = self.handlers.get(group)
        if handler is not None:
            return handler(subject, event), subject
        if group == "worker":
            return self._worker_event(subject, event)
        if group == "task":
            return self._task_event(subject, event)
        return None

    def _worker_event(self, subject: str, event: dict[str, Any]) -> Any:
        if not {"hostname", "timestamp", "local_received"} <= event.keys():
            return None
        hostname = event["hostname"]
        is_offline = subject == "offline"
        worker = self.workers.peek(hostname)
        created = worker is None and not is_offline
        if worker is None:
            worker = self.Worker(hostname)
            if not is_offline:
                self.workers[hostname] = worker
        worker.event(subject, event["timestamp"], event["local_received"], event)
        if self.on_node_join is not None and (created or subject == "online"):
            self.on_node_join(worker)
        if is_offline and self.on_node_leave is not None:
            self.on_node_leave(worker)
            self.workers.pop(hostname, None)
        return (worker, created), subject

    def _task_event(self, subject: str, event: dict[str, Any]) -> Any:
        uuid, hostname = event["uuid"], event["hostname"]
        timestamp, received, clock = event["timestamp"], event["local_received"], event["clock"]
        task = self.tasks.peek(uuid)
        created = task is None
        if task is None:
            task = self.tasks[uuid] = self.Task(uuid, cluster_state=self)
        if subject == "sent":
            # By a client, which is no worker.
            task.client = hostname
        else:
            task.worker = self._worker_of(hostname)
            if received:
                # Who tells of a task lives.
                task.worker.event(None, timestamp, received)
        self._note_moment((clock, timestamp, uuid))
        if subject == "received":
            self.task_count += 1
        task.event(subject, timestamp, received, event)
        self._note_name(task, hostname)
        self._relate(task)
        return (task, created), subject

    def _worker_of(self, hostname: str) -> nodes.Worker:
        worker = self.workers.peek(hostname)
        if worker is None:
            worker = self.workers[hostname] = self.Worker(hostname)
        return worker

    def _note_moment(self, moment: _Moment) -> None:
        heap = self._taskheap
        if len(heap) >= self.max_tasks_in_memory * self.heap_multiplier:
            del heap[0]
        # Mostly they come in order.
        if not heap or moment >= heap[-1]:
            heap.append(moment)
        else:
            insort(heap, moment)

    def _note_name(self, task: nodes.Task, hostname: str) -> None:
        if task.name is None:
            return
        self._seen_types.add(task.name)
        self.tasks_by_type[task.name].add(task)
        self.tasks_by_worker[hostname].add(task)

    def _relate(self, task: nodes.Task) -> None:
        """To its parent, when that is known, and to children that came before."""
        if task.parent_id:
            parent = self.tasks.peek(task.parent_id)
            if parent is not None:
                parent.children.add(task)
            else:
                orphans = self._orphans.peek(task.parent_id)
                if orphans is None:
                    orphans = self._orphans[task.parent_id] = WeakSet()
                orphans.add(task)
        children = self._orphans.pop(task.uuid or "", None)
        if children:
            task.children.update(children)

    def task_event(self, type_: str, fields: Mapping[str, Any]) -> Any:
        """Take note of an event of a task; :meth:`event` is the newer way."""
        return self._event({**fields, "type": f"task-{type_}"})[0]

    def worker_event(self, type_: str, fields: Mapping[str, Any]) -> Any:
        """Take note of an event of a worker; :meth:`event` is the newer way."""
        return self._event({**fields, "type": f"worker-{type_}"})[0]

    def get_or_create_worker(self, hostname: str, **kwargs: Any) -> tuple[nodes.Worker, bool]:
        """A worker by name, and whether it is new."""
        worker = self.workers.peek(hostname)
        if worker is None:
            worker = self.workers[hostname] = self.Worker(hostname, **kwargs)
            return worker, True
        worker.update(kwargs)
        return worker, False

    def get_or_create_task(self, uuid: str) -> tuple[nodes.Task, bool]:
        """A task by id, and whether it is new."""
        task = self.tasks.peek(uuid)
        if task is None:
            task = self.tasks[uuid] = self.Task(uuid, cluster_state=self)
            return task, True
        return task, False

    def freeze_while(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``fun`` while nothing changes; with ``clear_after=True`` forget everything then."""
        clear_after = kwargs.pop("clear_after", False)
        with self._mutex:
            try:
                return fun(*args, **kwargs)
            finally:
                if clear_after:
                    self._clear()

    def clear(self, ready: bool = True) -> None:
        """Forget all workers, and the tasks as :meth:`clear_tasks` does."""
        with self._mutex:
            self._clear(ready)

    def clear_tasks(self, ready: bool = True) -> None:
        """Forget tasks: with ``ready`` those that have ended, else all."""
        with self._mutex:
            self._clear_tasks(ready)

    def _clear(self, ready: bool = True) -> None:
        self.workers.clear()
        self._clear_tasks(ready)
        self.event_count = 0
        self.task_count = 0

    def _clear_tasks(self, ready: bool = True) -> None:
        kept = [
            (uuid, task)
            for uuid, task in self.tasks.items()
            if ready and task.state not in states.READY_STATES
        ]
        self.tasks.clear()
        self.tasks.update(kept)
        self._taskheap.clear()

    def rebuild_taskheap(self) -> None:
        """Put the tasks into the order of time anew."""
        self._taskheap[:] = sorted(
            (task.clock, task.timestamp or 0.0, uuid) for uuid, task in self.tasks.items()
        )

    def itertasks(self, limit: int | None = None) -> Iterator[tuple[str, nodes.Task]]:
        """Tasks by id, at most ``limit``."""
        return islice(self.tasks.items(), limit or None)

    def tasks_by_time(
        self, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, nodes.Task]]:
        """Tasks by id in the order of time, the latest first unless ``reverse=False``.

        Args:
            limit: How many events to look at.
        """
        heap = list(self._taskheap)
        seen: set[str] = set()
        for _, _, uuid in islice(reversed(heap) if reverse else heap, limit):
            task = self.tasks.peek(uuid)
            if task is not None and uuid not in seen:
                seen.add(uuid)
                yield uuid, task

    tasks_by_timestamp = tasks_by_time

    def _tasks_by_type(
        self, name: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, nodes.Task]]:
        ordered = self.tasks_by_time(reverse=reverse)
        return islice(((uuid, task) for uuid, task in ordered if task.name == name), limit)

    def _tasks_by_worker(
        self, hostname: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, nodes.Task]]:
        ordered = self.tasks_by_time(reverse=reverse)
        return islice(
            (
                (uuid, task)
                for uuid, task in ordered
                if task.worker is not None and task.worker.hostname == hostname
            ),
            limit,
        )

    def task_types(self) -> list[str]:
        """The names of all tasks that there were."""
        return sorted(self._seen_types)

    def alive_workers(self) -> Iterator[nodes.Worker]:
        """The workers that have been heard of lately."""
        return (worker for worker in self.workers.values() if worker.alive)

    def __repr__(self) -> str:
        return f"<State: events={self.event_count} tasks={self.task_count}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (
            self.event_callback,
            self.workers,
            self.tasks,
            None,
            self.max_workers_in_memory,
            self.max_tasks_in_memory,
            self.on_node_join,
            self.on_node_leave,
            {name: [task.id for task in tasks] for name, tasks in self.tasks_by_type.items()},
            {name: [task.id for task in tasks] for name, tasks in self.tasks_by_worker.items()},
        )
