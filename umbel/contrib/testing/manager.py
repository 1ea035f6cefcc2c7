"""Waiting for what tasks and workers come to, in tests against real workers.

::

    manager = Manager(app)
    result = group(add.s(i, i) for i in range(10)).apply_async()
    manager.assert_received([each.id for each in result])
    assert manager.join(result, timeout=10.0) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]

Source:
    Celery reference, ``celery.contrib.testing.manager``: names and arguments.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TextIO

from umbel import states
from umbel.exceptions import BackendUnavailable, BrokerUnavailable
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.result import AsyncResult, ResultSet
from umbel.result.base import ResultBase
from umbel.utils.text import truncate
from umbel.utils.time import humanize_seconds

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.app.operating.inspection import Inspect

__all__ = ["E_STILL_WAITING", "Manager", "ManagerMixin", "Sentinel"]

E_STILL_WAITING = "Still waiting for {0}.  Trying again {when}: {exc!r}"

Errors = tuple[type[BaseException], ...]

_IDLE_CHECK = 0.1
"""Seconds between two looks at whether workers are idle."""


class Sentinel(Exception):
    """It has not happened yet."""


class ManagerMixin:
    """For classes that have an ``app``; they call :meth:`_init_manager`."""

    app: Umbel

    def _init_manager(
        self,
        block_timeout: float = 30 * 60.0,
        no_join: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr
        self.connerrors: Errors = (BrokerUnavailable, BackendUnavailable, OSError)
        self.block_timeout = block_timeout
        self.no_join = no_join

    def remark(self, s: str, sep: str = "-") -> None:
        """Print a remark."""
        print(f"{sep}{s}", file=self.stdout)

    def warn(self, s: str) -> None:
        """Print a warning."""
        print(s, file=self.stderr)

    def missing_results(self, r: Sequence[AsyncResult[Any]]) -> Sequence[str]:
        """The ids of those that nobody has seen end."""
        return [result.id for result in r if result.known() is None]

    def wait_for(
        self,
        fun: Callable[..., Any],
        catch: Errors,
        desc: str = "thing",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        errback: Callable[[BaseException, float, int], object] | None = None,
        max_retries: int | None = 10,
        interval_start: float = 0.1,
        interval_step: float = 0.5,
        interval_max: float = 5.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> Any:
        """Call ``fun`` until it returns instead of raising one of ``catch``; what it returns.

        Args:
            desc: What is waited for, for warnings.
            errback: Called before each pause with the error, the seconds, and how many there were.
            max_retries: Calls after the first; None or 0: without end.
            interval_start: Seconds of the first pause; each further one is ``interval_step``
                longer, up to ``interval_max``.
            emit_warning: Whether to print that it goes on.
        """

        def on_error(error: BaseException, pauses: Iterator[float], retries: int) -> float:
            pause = next(pauses)
            if emit_warning:
                when = humanize_seconds(pause, "in", " ", microseconds=True)
                self.warn(E_STILL_WAITING.format(desc, when=when, exc=error))
            if errback is not None:
                errback(error, pause, retries)
            return pause

        return self.retry_over_time(
            fun,
            catch,
            args=args,
            kwargs=kwargs,
            errback=on_error,
            max_retries=max_retries,
            interval_start=interval_start,
            interval_step=interval_step,
            interval_max=interval_max,
            **options,
        )

    def ensure_not_for_a_while(
        self,
        fun: Callable[..., Any],
        catch: Errors,
        desc: str = "thing",
        max_retries: int | None = 20,
        interval_start: float = 0.1,
        interval_step: float = 0.02,
        interval_max: float = 1.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> None:
        """See that ``fun`` goes on raising one of ``catch``; arguments as :meth:`wait_for`.

        Raises:
            AssertionError: It has returned.
        """
        try:
            self.wait_for(
                fun,
                catch,
                desc=desc,
                max_retries=max_retries,
                interval_start=interval_start,
                interval_step=interval_step,
                interval_max=interval_max,
                emit_warning=emit_warning,
                **options,
            )
        except catch:
            return
        raise AssertionError(f"Should not have happened: {desc}")

    def retry_over_time(
        self,
        fun: Callable[..., Any],
        catch: Errors,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        errback: Callable[[BaseException, Iterator[float], int], float | None] | None = None,
        max_retries: int | None = None,
        interval_start: float = 2.0,
        interval_step: float = 2.0,
        interval_max: float = 30.0,
        callback: Callable[[], object] | None = None,
        timeout: float | None = None,
        **_: object,
    ) -> Any:
        """Call ``fun`` until it does not raise one of ``catch``; what it returns.

        Args:
            errback: Called with the error, the pauses to come, and how many there were; returns
                the seconds of the next pause (None: what comes next).
            callback: Called before each pause.
            timeout: Seconds after which the next error is raised.
        """
        pauses = (min(interval_start + interval_step * n, interval_max) for n in count())
        deadline = None if timeout is None else time.monotonic() + timeout
        for retries in count():
            try:
                return fun(*args, **(kwargs or {}))
            except catch as error:
                if max_retries and retries >= max_retries:
                    raise
                if deadline is not None and time.monotonic() > deadline:
                    raise
                if callback is not None:
                    callback()
                pause = None if errback is None else errback(error, pauses, retries)
                time.sleep(next(pauses) if pause is None else pause)
        raise AssertionError("counting does not end")

    def join(
        self, r: Any, propagate: bool = False, max_retries: int | None = 10, **kwargs: Any
    ) -> Any:
        """Wait for a result, or several; says what is missing whenever the wait times out.

        Args:
            propagate: Whether failures are raised; otherwise they are among the values.
            max_retries: Waits in all; None or 0: without end.
            kwargs: As for :meth:`umbel.result.ResultSet.get`: ``timeout``, seconds of each wait.

        Returns:
            The values; None: this manager does not wait.

        Raises:
            AssertionError: Some are still missing.
        """
        if self.no_join:
            return None
        results = r if isinstance(r, ResultSet) else self.app.ResultSet([r])
        for _ in range(max_retries) if max_retries else count():
            try:
                return results.get(propagate=propagate, **kwargs)
            except ResultTimeout as error:
                waiting = self.missing_results(_tasks(results))
                self.remark(
                    f"Still waiting for {len(waiting)}/{len(results)}: "
                    f"[{truncate(', '.join(waiting))}]: {error!r}",
                    "!",
                )
            except self.connerrors as error:
                self.remark(f"join: connection lost: {error!r}", "!")
        raise AssertionError("Test failed: Missing task results")

    def inspect(self, timeout: float | None = 3.0) -> Inspect:
        """Questions to all workers."""
        return self.app.control.inspect(timeout=timeout)

    def query_tasks(
        self, ids: Iterable[str], timeout: float | None = 0.5
    ) -> Iterator[tuple[str, Any]]:
        """What each worker says of the tasks: ``(node, {id: (state, task)})``."""
        yield from (self.inspect(timeout).query_task(*ids) or {}).items()

    def query_task_states(
        self, ids: Iterable[str], timeout: float | None = 0.5
    ) -> dict[str, set[str]]:
        """The ids by what workers do with them: ``active``, ``reserved``, ``ready``."""
        ids_by_state: dict[str, set[str]] = defaultdict(set)
        for _, reply in self.query_tasks(ids, timeout):
            for task_id, (state, _about) in reply.items():
                ids_by_state[state].add(task_id)
        return ids_by_state

    def assert_accepted(
        self,
        ids: Sequence[str],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be accepted",
        **policy: Any,
    ) -> Any:
        """Wait until workers run the tasks; ``policy`` as for :meth:`wait_for`.

        Raises:
            Sentinel: They do not.
        """
        return self.assert_task_worker_state(
            self.is_accepted, ids, interval=interval, desc=desc, **policy
        )

    def assert_received(
        self,
        ids: Sequence[str],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be received",
        **policy: Any,
    ) -> Any:
        """Wait until workers have the tasks; ``policy`` as for :meth:`wait_for`.

        Raises:
            Sentinel: They have not.
        """
        return self.assert_task_worker_state(
            self.is_received, ids, interval=interval, desc=desc, **policy
        )

    def assert_result_tasks_in_progress_or_completed(
        self,
        async_results: Sequence[AsyncResult[Any]],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be started or completed",
        **policy: Any,
    ) -> Any:
        """Wait until results say that all have begun; ``policy`` as for :meth:`wait_for`.

        Raises:
            Sentinel: They do not.
        """
        return self.assert_task_state_from_result(
            self.is_result_task_in_progress, async_results, interval=interval, desc=desc, **policy
        )

    def assert_task_state_from_result(
        self,
        fun: Callable[..., Any],
        results: Sequence[AsyncResult[Any]],
        interval: float = 0.5,
        **policy: Any,
    ) -> Any:
        """Wait until ``fun(results, timeout=interval)`` is true."""
        return self.wait_for(
            partial(self.true_or_raise, fun, results, timeout=interval), (Sentinel,), **policy
        )

    @staticmethod
    def is_result_task_in_progress(results: Iterable[AsyncResult[Any]], **_: object) -> bool:
        """Whether all have begun, or succeeded."""
        return all(result.state in {states.STARTED, states.SUCCESS} for result in results)

    def assert_task_worker_state(
        self, fun: Callable[..., Any], ids: Sequence[str], interval: float = 0.5, **policy: Any
    ) -> Any:
        """Wait until ``fun(ids, timeout=interval)`` is true."""
        return self.wait_for(
            partial(self.true_or_raise, fun, ids, timeout=interval), (Sentinel,), **policy
        )

    def is_received(self, ids: Iterable[str], **kwargs: Any) -> bool:
        """Whether workers have all of the tasks."""
        return self._are_in({"reserved", "active", "ready"}, ids, **kwargs)

    def is_accepted(self, ids: Iterable[str], **kwargs: Any) -> bool:
        """Whether workers run all of the tasks."""
        return self._are_in({"active", "ready"}, ids, **kwargs)

    def true_or_raise(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What ``fun`` returns, if it is true.

        Raises:
            Sentinel: It is not.
        """
        found = fun(*args, **kwargs)
        if not found:
            raise Sentinel
        return found

    def wait_until_idle(self) -> None:
        """Drop what waits in the queues, and wait until no worker runs anything."""
        while self.app.control.purge():
            pass
        while self._is_anything_running():
            time.sleep(_IDLE_CHECK)

    def _is_anything_running(self) -> bool:
        running: dict[str, list[Any]] = self.app.control.inspect().active() or {}
        return any(running.values())

    def _are_in(self, wanted: set[str], ids: Iterable[str], timeout: float | None = 0.5) -> bool:
        asked = list(ids)
        ids_by_state = self.query_task_states(asked, timeout=timeout)
        return set(asked) <= {id_ for state in wanted for id_ in ids_by_state.get(state, ())}


class Manager(ManagerMixin):
    """Waits for the tasks of an app.

    Args:
        kwargs: ``no_join``: whether :meth:`join` waits for nothing; ``stdout`` and ``stderr``:
            where remarks and warnings go; ``block_timeout``: kept for those who read it.
    """

    def __init__(self, app: Umbel, **kwargs: Any) -> None:
        self.app = app
        self._init_manager(**kwargs)


def _tasks(results: ResultBase) -> list[AsyncResult[Any]]:
    return [leaf for leaf in results.leaves() if isinstance(leaf, AsyncResult)]
