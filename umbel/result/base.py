"""What all results have in common, and their form as tuples.

Source:
    Celery reference, ``celery.result``: ``as_tuple``, ``result_from_tuple``. A task is
    ``((id, parent), None)``, a group is ``((id, parent), [members])``; that is also how they are
    stored, and how a task's children are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from umbel.result.waiting import ResultSource
    from umbel.wire.results import ResultMeta

__all__ = ["Leaf", "Maker", "ResultBase", "result_from_tuple", "stands_for"]


class Leaf(Protocol):
    """The result of one task, as far as those that hold many of them need it."""

    id: str

    def known(self) -> ResultMeta | None:
        """How the task ended, if that is known without asking."""
        ...

    def settle(self, meta: ResultMeta) -> None:
        """Take in how the task ended."""
        ...


class ResultBase:
    """What all results have: a parent, which is the result of what came before."""

    id: Any = None
    parent: ResultBase | None = None

    @property
    def children(self) -> list[ResultBase] | None:
        """The results below this one; None: there are none, or they are not known yet."""
        return None

    def leaves(self) -> Iterator[Leaf]:
        """The tasks that this result is made of: itself, or the members of a group."""
        raise NotImplementedError

    def get(self, timeout: float | None = None, propagate: bool = True) -> Any:
        """Wait until it is ready; the value."""
        raise NotImplementedError

    async def aget(self, timeout: float | None = None, *, propagate: bool = True) -> Any:
        """:meth:`get`, without blocking the running loop."""
        raise NotImplementedError

    def lineage(self) -> Iterator[ResultBase]:
        """The parent, its parent, and so on."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def as_tuple(self) -> tuple[tuple[Any, Any], list[Any] | None]:
        """``((id, parent), members)``, for :func:`result_from_tuple`."""
        # A loop and not a recursion: a chain may be longer than Python's stack is deep.
        described: tuple[tuple[Any, Any], list[Any] | None] | None = None
        for node in reversed([*self.lineage()]):
            described = (node.id, described), node.members_as_tuples()
        return (self.id, described), self.members_as_tuples()

    def members_as_tuples(self) -> list[Any] | None:
        """The tuples of a group's members; None: it is no group."""
        return None


class Maker(Protocol):
    """Makes the result of a tuple."""

    def __call__(
        self, id: str, *, members: list[ResultBase], parent: ResultBase | None, app: Any
    ) -> ResultBase:
        """Make it; ``members`` is empty for a task."""
        ...


# Filled by the modules that define the results, when they are imported: they need this one.
_maker_by_kind: dict[Literal["task", "group"], Maker] = {}


def stands_for(kind: Literal["task", "group"], maker: Maker) -> None:
    """Say what is made of the tuple of a task, or of a group."""
    _maker_by_kind[kind] = maker


def result_from_tuple(r: Any, app: ResultSource | None = None) -> ResultBase:
    """The result that ``as_tuple`` described; a result is returned as it is.

    Raises:
        ValueError: ``r`` is not of the form ``((id, parent), members)``.
    """
    if isinstance(r, ResultBase):
        return r
    found: list[tuple[str, Any]] = []
    above: ResultBase | None = None
    rest: Any = r
    while rest:
        if isinstance(rest, ResultBase):
            above = rest
            break
        head, members = _pair(rest, r)
        task_id, rest = (head, None) if isinstance(head, str) else _pair(head, r)
        if not isinstance(task_id, str) or not (members is None or _is_sequence(members)):
            raise _unreadable(r)
        found.append((task_id, members))
    for task_id, members in reversed(found):
        kind: Literal["task", "group"] = "task" if members is None else "group"
        below = [result_from_tuple(member, app) for member in members or ()]
        above = _maker_by_kind[kind](task_id, members=below, parent=above, app=app)
    if above is None:
        raise _unreadable(r)
    return above


def _pair(value: Any, whole: Any) -> tuple[Any, Any]:
    if not _is_sequence(value) or len(value) != 2:
        raise _unreadable(whole)
    return value[0], value[1]


def _is_sequence(value: object) -> bool:
    return isinstance(value, list | tuple)


def _unreadable(r: Any) -> ValueError:
    message = f"cannot make a result of {r!r:.200}: expected ((id, parent), members or None)"
    return ValueError(message)
