"""The part of an app that sends tasks by name and by signature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec

from umbel.app.connecting.handing_out import Connecting
from umbel.app.sending.arguments import complete
from umbel.app.sending.calls import adopt, defaults_of, make_call, result_of
from umbel.app.sending.overridden import Gathered, gather, is_overridden
from umbel.app.sending.producer import PublishPolicy
from umbel.canvas.signature import Signature
from umbel.exceptions import AlwaysEagerIgnored
from umbel.result import AsyncResult, Groups, ResultSet

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.wire.call import Call

__all__ = ["TaskSending"]


class TaskSending(Connecting):
    """Sends tasks whose code need not be here."""

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        countdown: float | None = None,
        eta: Any = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send a task by name; its code need not be here.

        Takes the options of ``Task.apply_async``.
        """
        call = self._call_by_name(name, args, kwargs, countdown, eta, task_id, options)
        producer = options.get("producer")
        if isinstance(producer, Gathered):
            producer.calls.append(call)
            return result_of(call, cast("Umbel", self))
        self.portal.call(self.producer.send, (call,), self.publish_policy(options, (call,)))
        return self._results_of((call,), options)[0]

    async def asend_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        countdown: float | None = None,
        eta: Any = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """:meth:`send_task`, without blocking the running loop."""
        call = self._call_by_name(name, args, kwargs, countdown, eta, task_id, options)
        await self.producer.send((call,), self.publish_policy(options, (call,)))
        return self._results_of((call,), options)[0]

    def send_many(self, signatures: Iterable[Mapping[str, Any]]) -> list[AsyncResult[Any]]:
        """Send the calls that signatures describe, in few round trips.

        Raises:
            BatchError: The broker refused some; ``errors`` says which.
            OperationalError: The broker cannot be reached; some may have been sent.
        """
        calls = [call for signature in signatures for call in self.calls_of(signature)]
        self.portal.call(self.producer.send, calls, self.publish_policy({}, calls))
        return self._results_of(calls, {})

    async def asend_many(self, signatures: Iterable[Mapping[str, Any]]) -> list[AsyncResult[Any]]:
        """:meth:`send_many`, without blocking the running loop."""
        calls = [call for signature in signatures for call in self.calls_of(signature)]
        await self.producer.send(calls, self.publish_policy({}, calls))
        return self._results_of(calls, {})

    def _results_of(
        self, calls: Iterable[Call], options: Mapping[str, Any]
    ) -> list[AsyncResult[Any]]:
        app = cast("Umbel", self)
        results = [result_of(call, app) for call in calls]
        adopt(results, options)
        return results

    def signature(self, *args: Any, **kwargs: Any) -> Signature:
        """A signature that is sent through this app."""
        kwargs["app"] = self
        return Signature(*args, **kwargs)

    subtask = signature

    def AsyncResult(self, id: str, **kwargs: Any) -> AsyncResult[Any]:  # noqa: N802
        """The result of a task, by its id."""
        return AsyncResult(id, app=cast("Umbel", self), **kwargs)

    @property
    def GroupResult(self) -> Groups:  # noqa: N802
        """:class:`umbel.result.GroupResult`, looking through this app."""
        return Groups(cast("Umbel", self))

    def ResultSet(self, results: Iterable[Any], **kwargs: Any) -> ResultSet:  # noqa: N802
        """Several results as one."""
        return ResultSet(results, app=cast("Umbel", self), **kwargs)

    def publish_policy(
        self, options: Mapping[str, Any], calls: Sequence[Call] = ()
    ) -> PublishPolicy:
        """How persistently to publish.

        Args:
            options: Of the call; its ``retry`` and ``retry_policy`` win.
            calls: What is published: the route of the first one is asked next, then the settings.
        """
        if calls and calls[0].insistence is not None:
            options = {**calls[0].insistence, **options}
        if options.get("retry") is None and options.get("retry_policy") is None:
            return self._derive(
                "publish_policy",
                lambda conf: PublishPolicy.of(
                    conf.task_publish_retry, conf.task_publish_retry_policy
                ),
            )
        retry = options.get("retry")
        policy: dict[str, Any] = {
            **self.conf.task_publish_retry_policy,
            **(options.get("retry_policy") or {}),
        }
        return PublishPolicy.of(self.conf.task_publish_retry if retry is None else retry, policy)

    def _call_by_name(
        self,
        name: str,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        countdown: float | None,
        eta: Any,
        task_id: str | None,
        options: Mapping[str, Any],
    ) -> Call:
        if self.conf.task_always_eager:
            # Only a warning, and only here: the module costs time to import.
            import warnings

            message = "task_always_eager has no effect on send_task"
            warnings.warn(AlwaysEagerIgnored(message), stacklevel=3)
        given = {**options, "countdown": countdown, "eta": eta, "task_id": task_id}
        return self._make_call(name, *complete(args, kwargs), given)

    def _make_call(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Call:
        app, task = cast("Umbel", self), self._tasks.get(name)
        resolved = None if task is None else task.options
        expires = None if resolved is None else resolved.expires
        routed: str = options.get("route_name") or name
        defaults = defaults_of(app, routed, resolved)
        call = make_call(app, defaults, args, kwargs, options, expires)
        return call if routed == name else msgspec.structs.replace(call, task=name)

    def calls_of(self, signature: Mapping[str, Any]) -> list[Call]:
        """The calls that a signature describes, as :meth:`send_many` would make them: one, unless
        the task has its own way."""
        args, kwargs = complete(signature.get("args"), signature.get("kwargs"))
        name = str(signature["task"])
        options: Mapping[str, Any] = signature.get("options") or {}
        own = self._own_way(name, args, kwargs, options)
        return [self._make_call(name, args, kwargs, options)] if own is None else own

    def _own_way(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> list[Call] | None:
        """The calls that an override makes of one: of ``Task.apply_async`` where the task is
        known here, else of :meth:`send_task`; None: there is none."""
        task = self._tasks.get(name)
        if task is not None:
            return task.calls_of(args, kwargs, options) if task.has_own_way else None
        if is_overridden(self.send_task, _SEND_TASK):
            return gather(partial(self.send_task, name), args, kwargs, options)[1]
        return None


_SEND_TASK = TaskSending.send_task
