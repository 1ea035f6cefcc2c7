"""The tree below a result: the tasks that it sent, those that they sent, and so on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from umbel.exceptions import IncompleteStream
from umbel.result.base import ResultBase
from umbel.result.gathering import load_all
from umbel.result.waiting import ResultSource
from umbel.states import READY_STATES

if TYPE_CHECKING:
    from umbel.utils.graph import DependencyGraph, GraphFormatter

__all__ = ["Tree", "look", "states_of"]

Edge = tuple[ResultBase | None, ResultBase]
"""A result, and the one that it is a child of."""


class Tree(ResultBase):
    """A result that may have others below it.

    Source:
        Celery reference, ``celery.result.AsyncResult``: ``iterdeps``, ``collect``, ``graph``.
    """

    def iterdeps(self, intermediate: bool = False) -> Iterator[Edge]:
        """The result and all below it, level by level, each with the one that it is a child of.

        Args:
            intermediate: Whether to go on past tasks that have not ended.

        Raises:
            IncompleteStream: A task has not ended, so its children are not known.
        """
        level: list[Edge] = [(None, self)]
        while level:
            nodes = [node for _, node in level]
            source = self._source()
            states = source.portal.call(look, source, nodes)
            yield from _until_incomplete(level, states, intermediate)
            level = _below(nodes)

    def collect(
        self, intermediate: bool = False, **options: Any
    ) -> Iterator[tuple[ResultBase, Any]]:
        """The result and all below it, each with its value, waited for as by :meth:`get`.

        Raises:
            IncompleteStream: See :meth:`iterdeps`.
            Exception: What a task raised.
        """
        for _, node in self.iterdeps(intermediate=intermediate):
            yield node, cast("Any", node).get(**options)

    async def acollect(
        self, intermediate: bool = False, **options: Any
    ) -> AsyncIterator[tuple[ResultBase, Any]]:
        """:meth:`collect`, for ``async for``."""
        level: list[Edge] = [(None, self)]
        while level:
            nodes = [node for _, node in level]
            states = await look(self._source(), nodes)
            for _, node in _until_incomplete(level, states, intermediate):
                yield node, await cast("Any", node).aget(**options)
            level = _below(nodes)

    def get_leaf(self) -> Any:
        """The value of the last of :meth:`iterdeps`: what came of it all in the end."""
        value: Any = None
        for _, node in self.iterdeps():
            value = node.get()
        return value

    def build_graph(
        self, intermediate: bool = False, formatter: GraphFormatter | None = None
    ) -> DependencyGraph[ResultBase]:
        """Which result is whose child. Arguments and errors are those of :meth:`iterdeps`.

        ::

        with open("graph.dot", "w") as file:
            result.build_graph(intermediate=True).to_dot(file)
        """
        # Few programs draw.
        from umbel.utils.graph import DependencyGraph, GraphFormatter

        graph = DependencyGraph[ResultBase](
            formatter=formatter or GraphFormatter(root=self.id, shape="oval")
        )
        for parent, node in self.iterdeps(intermediate=intermediate):
            graph.add_arc(node)
            if parent is not None:
                graph.add_edge(parent, node)
        return graph

    @cached_property
    def graph(self) -> DependencyGraph[ResultBase]:
        """:meth:`build_graph` of a tree whose tasks have all ended."""
        return self.build_graph()

    def _source(self) -> ResultSource:
        raise NotImplementedError


async def look(source: ResultSource, results: Iterable[ResultBase]) -> dict[str, str]:
    """The states of all tasks in ``results`` by id, asked for in batches. What has ended is kept
    in the results; tasks that nothing is known of are absent."""
    leaves = [leaf for result in results for leaf in result.leaves()]
    unknown = dict.fromkeys(leaf.id for leaf in leaves if leaf.known() is None)
    found = await load_all(source, list(unknown)) if unknown else {}
    states = {id_: meta.status for id_, meta in found.items()}
    for leaf in leaves:
        known = leaf.known()
        if known is not None:
            states[leaf.id] = known.status
        elif leaf.id in found and states[leaf.id] in READY_STATES:
            leaf.settle(found[leaf.id])
    return states


def states_of(result: ResultBase, states: dict[str, str], otherwise: str) -> Iterator[str]:
    """The states of the tasks in ``result``."""
    return (states.get(leaf.id, otherwise) for leaf in result.leaves())


def _until_incomplete(
    level: Iterable[Edge], states: dict[str, str], intermediate: bool
) -> Iterator[Edge]:
    for parent, node in level:
        yield parent, node
        # Who has got the node may have waited for it.
        if not intermediate and not all(_is_ready(leaf, states) for leaf in node.leaves()):
            raise IncompleteStream


def _is_ready(leaf: Any, states: dict[str, str]) -> bool:
    known = leaf.known()
    return (states.get(leaf.id) if known is None else known.status) in READY_STATES


def _below(nodes: Iterable[ResultBase]) -> list[Edge]:
    return [
        (node, child)
        for node in nodes
        if all(leaf.known() is not None for leaf in node.leaves())
        for child in node.children or ()
    ]
