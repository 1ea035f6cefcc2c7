"""The results of a group: ``GroupResult``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from umbel.result.base import ResultBase, result_from_tuple, stands_for
from umbel.result.sets import ResultSet
from umbel.result.waiting import ResultSource, default_source

if TYPE_CHECKING:
    from umbel.protocols import ResultBackend

__all__ = ["GroupResult", "Groups"]


class GroupResult(ResultSet):
    """The results of a group's members in order, with an id, under which it can be saved."""

    def __init__(
        self,
        id: str | None = None,
        results: Iterable[ResultBase] | None = None,
        parent: ResultBase | None = None,
        **options: Any,
    ) -> None:
        """Make one.

        Args:
            parent: The result of what came before.
            options: ``app``: where the results are read from.
        """
        super().__init__(results, **options)
        self.id = id
        self.parent = parent

    @property
    def children(self) -> list[Any]:
        """The members."""
        return self.results

    def members_as_tuples(self) -> list[Any]:
        """The tuples of the members."""
        return [result.as_tuple() for result in self.results]

    def save(self, backend: ResultBackend | None = None) -> None:
        """Keep which results these are, for :meth:`restore`.

        Args:
            backend: Where; the app's result backend by default.
        """
        self._source().portal.call(self.asave, backend)

    async def asave(self, backend: ResultBackend | None = None) -> None:
        """:meth:`save`, without blocking the running loop."""
        source = self._source()
        (group_id, parent), members = self.as_tuple()
        record = source.codec.group(group_id, parent, members or [])
        await (backend or await source.connections.backend()).store_groups([record])

    def delete(self, backend: ResultBackend | None = None) -> None:
        """Undo :meth:`save`. The results of the members stay."""
        self._source().portal.call(self.adelete, backend)

    async def adelete(self, backend: ResultBackend | None = None) -> None:
        """:meth:`delete`, without blocking the running loop."""
        await (backend or await self._source().connections.backend()).forget_groups([self.id])

    @classmethod
    def restore(
        cls, id: str, backend: ResultBackend | None = None, app: ResultSource | None = None
    ) -> Self | None:
        """The group that was saved under ``id``, by umbel or Celery; None: there is none."""
        source = _source(app)
        return source.portal.call(cls.arestore, id, backend, source)

    @classmethod
    async def arestore(
        cls, id: str, backend: ResultBackend | None = None, app: ResultSource | None = None
    ) -> Self | None:
        """:meth:`restore`, without blocking the running loop."""
        source = _source(app)
        found = await (backend or await source.connections.backend()).load_groups([id])
        if id not in found:
            return None
        group_id, parent, members = source.codec.read_group(found[id])
        return cls(
            group_id,
            [result_from_tuple(member, source) for member in members],
            result_from_tuple(parent, source) if parent else None,
            app=source,
        )

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return (
                other.id == self.id
                and other.results == self.results
                and other.parent == self.parent
            )
        if isinstance(other, str):
            return bool(other == self.id)
        return NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]  # the id stays
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{self._ids()}]>"

    def __reduce__(self) -> tuple[Any, ...]:
        # The app does not travel: whoever unpickles looks through their own.
        return GroupResult, (self.id, self.results, self.parent)


class Groups:
    """``app.GroupResult``: makes and restores groups that look through one app."""

    def __init__(self, app: ResultSource) -> None:
        self._app = app

    def __call__(
        self,
        id: str | None = None,
        results: Iterable[ResultBase] | None = None,
        parent: ResultBase | None = None,
    ) -> GroupResult:
        """A group; see :class:`GroupResult`."""
        return GroupResult(id, results, parent, app=self._app)

    def restore(self, id: str, backend: ResultBackend | None = None) -> GroupResult | None:
        """See :meth:`GroupResult.restore`."""
        return GroupResult.restore(id, backend, self._app)

    async def arestore(self, id: str, backend: ResultBackend | None = None) -> GroupResult | None:
        """See :meth:`GroupResult.arestore`."""
        return await GroupResult.arestore(id, backend, self._app)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, GroupResult)


def _source(app: ResultSource | None) -> ResultSource:
    source = app or default_source()
    if source is None:
        message = "cannot restore a group without an app; use app.GroupResult.restore(id)"
        raise RuntimeError(message)
    return source


def _of_tuple(
    id: str, *, members: list[ResultBase], parent: ResultBase | None, app: Any
) -> ResultBase:
    return GroupResult(id, members, parent, app=app)


stands_for("group", _of_tuple)
