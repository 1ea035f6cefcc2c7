"""Saying of a task what became of it, and what follows from that."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from umbel.canvas.signature import maybe_signature
from umbel.exceptions import TaskRevokedError
from umbel.execution.failures import ExceptionInfo
from umbel.states import FAILURE, PROPAGATE_STATES, RETRY, REVOKED, STARTED, SUCCESS

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.app.base import Umbel

__all__ = ["Marking"]


class Marking:
    """For who ends tasks himself: umbel's workers store, count and call back by their own way.

    Source:
        Celery reference, ``celery.backends.base.Backend``: ``mark_as_…``, chords.
    """

    app: Umbel
    store_result: Callable[..., Any]

    def mark_as_started(self, task_id: str, **meta: Any) -> Any:
        """It has begun."""
        return self.store_result(task_id, meta, STARTED)

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = SUCCESS,
    ) -> None:
        """It has returned ``result``."""
        if store_result and not (request is not None and request.ignore_result):
            self.store_result(task_id, result, state, request=request)
        if request is not None and request.chord:
            self.on_chord_part_return(request, state, result)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = FAILURE,
    ) -> None:
        """It has raised ``exc``: what was to follow it has failed with it."""
        if store_result:
            self.store_result(task_id, exc, state, traceback=traceback, request=request)
        if request is None:
            return
        if request.chord:
            self.on_chord_part_return(request, state, exc)
        if store_result and state in PROPAGATE_STATES:
            for link in getattr(request, "chain", None) or ():
                options: Mapping[str, Any] = link.get("options") or {}
                if link_id := options.get("task_id"):
                    self.store_result(link_id, exc, state, traceback=traceback)
        if call_errbacks:
            for errback in getattr(request, "errbacks", None) or ():
                found: Any = maybe_signature(errback, app=self.app)
                found.apply_async((task_id,), parent_id=task_id)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = REVOKED,
    ) -> None:
        """It is not to run."""
        exc = TaskRevokedError(reason)
        if store_result:
            self.store_result(task_id, exc, state, traceback=None, request=request)
        if request is not None and request.chord:
            self.on_chord_part_return(request, state, exc)

    def mark_as_retry(
        self,
        task_id: str,
        exc: BaseException,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        state: str = RETRY,
    ) -> Any:
        """It is to be tried again, because of ``exc``."""
        return self.store_result(task_id, exc, state, traceback=traceback, request=request)

    def fail_from_current_stack(
        self, task_id: str, exc: BaseException | None = None
    ) -> ExceptionInfo:
        """It has failed with ``exc``, or with what is being handled here."""
        error = exc or sys.exc_info()[1] or RuntimeError("no exception is being handled")
        info = ExceptionInfo(error)
        self.mark_as_failure(task_id, error, info.traceback)
        return info

    def chord_error_from_stack(self, callback: Any, exc: BaseException | None = None) -> Any:
        """The body of a chord has failed before it could run: say so, and call its error
        callbacks."""
        found: Any = maybe_signature(callback, app=self.app)
        if not found.id:
            found.freeze()
        info = self.fail_from_current_stack(found.id, exc)
        errbacks: Any = found.options.get("link_error") or ()
        called: list[Any] = [errbacks] if isinstance(errbacks, Mapping) else list(errbacks)
        for errback in called:
            call: Any = maybe_signature(errback, app=self.app)
            call.apply_async((found.id,), parent_id=found.id)
        return info

    # -- chords: umbel counts its own elsewhere

    def ensure_chords_allowed(self) -> None:
        """Raises where there can be no chords."""

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """A member of a chord has ended."""

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """How many members a chord has."""

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """One more member.

        Raises:
            NotImplementedError: Subclasses that can, do.
        """
        raise NotImplementedError("Backend does not support add_to_chord")

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Have somebody look when all members have ended."""
        self.ensure_chords_allowed()
        self.fallback_chord_unlock(self.app.GroupResult(*header_result_args), body, **kwargs)

    def fallback_chord_unlock(
        self, header_result: Any, body: Any, countdown: float = 1, **kwargs: Any
    ) -> None:
        """Send ``celery.chord_unlock``, which looks again and again."""
        kwargs["result"] = [each.as_tuple() for each in header_result]
        self.app.tasks["celery.chord_unlock"].apply_async(
            (header_result.id, body), kwargs, countdown=countdown
        )
