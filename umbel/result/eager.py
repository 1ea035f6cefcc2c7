"""The result of a task that ran in place: ``EagerResult``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from umbel.exceptions import TaskRevokedError
from umbel.result.base import ResultBase
from umbel.result.blocking import assert_will_not_block
from umbel.result.single import AsyncResult
from umbel.states import PROPAGATE_STATES, REVOKED

if TYPE_CHECKING:
    from umbel.wire.results import ResultMeta

__all__ = ["EagerResult"]

R = TypeVar("R")


class EagerResult(AsyncResult[R]):
    """The result of a task that ran in place (``apply``, ``task_always_eager``)."""

    def __init__(
        self,
        id: str,
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
        children: Sequence[ResultBase] | None = None,
    ) -> None:
        super().__init__(id, task_name=name)
        self._children = children
        self._value = ret_value
        self._state = state
        self._traceback = traceback

    def get(  # type: ignore[override]  # there is nothing to wait for
        self,
        timeout: float | None = None,
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
        **_: object,
    ) -> R:
        """The value; or the exception, raised or returned."""
        if disable_sync_subtasks:
            assert_will_not_block()
        if propagate and self._state in PROPAGATE_STATES:
            raise self._value if isinstance(self._value, Exception) else Exception(self._value)
        return cast("R", self._value)

    wait = get  # type: ignore[assignment]  # as above

    async def aget(self, timeout: float | None = None, *, propagate: bool = True, **_: object) -> R:
        """:meth:`get`."""
        return self.get(propagate=propagate, disable_sync_subtasks=False)

    def ready(self) -> bool:
        """True: it has run."""
        return True

    def forget(self) -> None:
        """Nothing is stored."""

    async def aforget(self) -> None:
        """Nothing is stored."""

    def exists(self) -> bool:
        """True: it has run."""
        return True

    def revoke(self, *_: object, **__: object) -> None:
        """Too late to stop it: its value is replaced by what a revoked task has.

        Source:
            Celery 5.7, ``EagerResult.revoke``.
        """
        self._state = REVOKED
        self._value = TaskRevokedError("revoked")
        self._traceback = None

    @property
    def children(self) -> list[ResultBase] | None:
        """The results of the tasks that ran because this one did."""
        return None if self._children is None else list(self._children)

    def known(self) -> ResultMeta:
        """How the task ended."""
        return self._meta()

    def _meta(self) -> ResultMeta:
        # Result documents are read with msgspec, which a program that only defines tasks has.
        from umbel.wire.results import ResultMeta

        return ResultMeta(
            task_id=self.id,
            status=self._state,
            result=self._value,
            traceback=self._traceback,
            name=self._name,
        )

    async def _ameta(self) -> ResultMeta:
        return self._meta()

    def __repr__(self) -> str:
        return f"<EagerResult: {self.id}>"

    def __copy__(self) -> EagerResult[R]:
        return EagerResult(self.id, self._value, self._state, self._traceback, self._name)

    def __reduce__(self) -> tuple[Any, ...]:
        return EagerResult, (self.id, self._value, self._state, self._traceback, self._name)
