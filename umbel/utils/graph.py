"""Dependency graphs, and drawing them for Graphviz (``celery.utils.graph``).

Source:
    Celery reference, ``celery.utils.graph``: names. The text is DOT, "The DOT Language" at
    graphviz.org.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["CycleError", "DependencyGraph", "GraphFormatter"]

Node = TypeVar("Node", bound=Hashable)


class Writable(Protocol):
    """What a graph can be drawn to: a file, or anything that takes text."""

    def write(self, text: str, /) -> object:
        """Take the text."""
        ...


class CycleError(Exception):
    """The graph has a cycle, so there is no order."""


class DependencyGraph(Generic[Node]):
    """Nodes, and which others each depends on.

    >>> graph = DependencyGraph([("cake", ["flour", "eggs"]), ("flour", []), ("eggs", ["hen"]),
    ...                          ("hen", [])])
    >>> graph.topsort()
    ['hen', 'flour', 'eggs', 'cake']
    """

    def __init__(
        self,
        it: Iterable[tuple[Node, Iterable[Node]]] | None = None,
        formatter: GraphFormatter | None = None,
    ) -> None:
        self.formatter = formatter or GraphFormatter()
        self.adjacent: dict[Node, list[Node]] = {}
        if it is not None:
            self.update(it)

    def add_arc(self, obj: Node) -> None:
        """Add a node, if it is not there."""
        self.adjacent.setdefault(obj, [])

    def add_edge(self, A: Node, B: Node) -> None:  # noqa: N803 - Celery's names
        """``A`` depends on ``B``; ``A`` is a node already."""
        self[A].append(B)

    def connect(self, graph: DependencyGraph[Node]) -> None:
        """Add another graph's nodes."""
        self.adjacent.update(graph.adjacent)

    def update(self, it: Iterable[tuple[Node, Iterable[Node]]]) -> None:
        """Add nodes, each with those that it depends on."""
        pairs = [(node, list(others)) for node, others in it]
        for node, _ in pairs:
            self.add_arc(node)
        for node, others in pairs:
            for other in others:
                self.add_edge(node, other)

    def topsort(self) -> list[Node]:
        """All nodes, those that others depend on before those.

        Raises:
            CycleError: Some depend on each other.
        """
        unmet = {node: len(set(others)) for node, others in self.adjacent.items()}
        dependants: dict[Node, list[Node]] = {}
        for node, others in self.adjacent.items():
            for other in dict.fromkeys(others):
                dependants.setdefault(other, []).append(node)
        ready = [node for node in {**unmet, **dict.fromkeys(dependants, 0)} if not unmet.get(node)]
        ordered: list[Node] = []
        while ready:
            node = ready.pop()
            ordered.append(node)
            for dependant in dependants.get(node, ()):
                unmet[dependant] -= 1
                if not unmet[dependant]:
                    ready.append(dependant)
        if len(ordered) < len(unmet.keys() | dependants.keys()):
            stuck = ", ".join(str(node) for node, count in unmet.items() if count)
            raise CycleError(f"these depend on each other: {stuck:.200}")
        return ordered

    def valency_of(self, obj: Node) -> int:
        """How many edges can be followed from a node."""
        if obj not in self.adjacent:
            return 0
        seen = {obj}
        waiting, count = [obj], 0
        while waiting:
            for other in self.adjacent.get(waiting.pop(), ()):
                count += 1
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return count

    def edges(self) -> list[Node]:
        """The nodes that depend on others."""
        return [node for node, others in self.adjacent.items() if others]

    def to_dot(self, fh: Writable, formatter: GraphFormatter | None = None) -> None:
        """Write the graph in the DOT language."""
        draw = formatter or self.formatter
        seen: set[str] = set()

        def line(text: str) -> None:
            fh.write(f"{text}\n")

        def node_line(node: Node, *, is_terminal: bool) -> None:
            label = draw.label(node)
            if label not in seen:
                seen.add(label)
                line(draw.terminal_node(node) if is_terminal else draw.node(node))

        line(draw.head())
        for node, others in self.adjacent.items():
            if not others:
                node_line(node, is_terminal=True)
            for other in others:
                node_line(node, is_terminal=False)
                node_line(other, is_terminal=not self.adjacent.get(other))
                line(draw.edge(node, other))
        line(draw.tail())

    def format(self, obj: Node) -> str:
        """The label of a node."""
        return self.formatter.label(obj)

    def items(self) -> Iterator[tuple[Node, list[Node]]]:
        """Nodes, each with those that it depends on."""
        return iter(self.adjacent.items())

    iteritems = items

    def __iter__(self) -> Iterator[Node]:
        return iter(self.adjacent)

    def __getitem__(self, node: Node) -> list[Node]:
        return self.adjacent[node]

    def __len__(self) -> int:
        return len(self.adjacent)

    def __contains__(self, obj: object) -> bool:
        return obj in self.adjacent

    def __repr__(self) -> str:
        return "\n".join(self.repr_node(node) for node in self)

    def repr_node(self, obj: Node, level: int = 1, fmt: str = "{0}({1})") -> str:
        """A node and what is below it, as indented text."""
        lines = [fmt.format(obj, self.valency_of(obj))]
        for other in self.adjacent.get(obj, ()):
            below = self.repr_node(other, level + 1, fmt)
            lines.append(f"{'     ' * level}{below}")
        return "\n".join(lines)


class GraphFormatter:
    """How a graph looks in the DOT language.

    Args:
        root: The name of the graph; the nodes' label of it is drawn like any other.
        type: ``digraph`` or ``graph``.
        id: The name, instead of ``root``.
        indent: Levels of ``inw`` before each line.
        scheme: Attributes of every node and edge, beside the defaults.
    """

    scheme: Mapping[str, Any] = {
        "shape": "box",
        "arrowhead": "vee",
        "style": "filled",
        "fontname": "HelveticaNeue",
    }
    edge_scheme: Mapping[str, Any] = {
        "color": "darkseagreen4",
        "arrowcolor": "black",
        "arrowsize": 0.7,
    }
    node_scheme: Mapping[str, Any] = {"fillcolor": "palegreen3", "color": "palegreen4"}
    term_scheme: Mapping[str, Any] = {"fillcolor": "palegreen1", "color": "palegreen2"}
    graph_scheme: Mapping[str, Any] = {"bgcolor": "mintcream"}

    def __init__(
        self,
        root: object = None,
        type: str | None = None,
        id: str | None = None,
        indent: int = 0,
        inw: str = " " * 4,
        **scheme: Any,
    ) -> None:
        self.id = id or "dependencies"
        self.root = root
        self.type = type or "digraph"
        self.direction = "--" if self.type == "graph" else "->"
        self.IN = inw * indent
        self.INp = inw * (indent + 1)
        self.scheme = {**self.scheme, **scheme}
        self.graph_scheme = {**self.graph_scheme, "label": self.label(self.root)}

    def attr(self, name: str, value: object) -> str:
        """One attribute."""
        return f"{name}={_quoted(value)}"

    def attrs(self, d: Mapping[str, Any] | None, scheme: Mapping[str, Any] | None = None) -> str:
        """Attributes: everyone's, those of ``scheme``, and those of ``d``, which win."""
        merged = {**self.scheme, **(scheme or {}), **(d or {})}
        return ", ".join(self.attr(name, value) for name, value in merged.items())

    def head(self, **attrs: Any) -> str:
        """The first line."""
        own = "; ".join(
            self.attr(name, value) for name, value in {**self.graph_scheme, **attrs}.items()
        )
        return f"{self.IN}{self.type} {_quoted(self.id)} {{\n{self.INp}{own}"

    def tail(self) -> str:
        """The last line."""
        return f"{self.IN}}}"

    def label(self, obj: object) -> str:
        """What a node is called; nodes of one label are drawn as one."""
        return "" if obj is None else str(obj)

    def node(self, obj: object, **attrs: Any) -> str:
        """A node that depends on others."""
        return self.draw_node(obj, self.node_scheme, attrs)

    def terminal_node(self, obj: object, **attrs: Any) -> str:
        """A node that depends on none."""
        return self.draw_node(obj, self.term_scheme, attrs)

    def edge(self, a: object, b: object, **attrs: Any) -> str:
        """``a`` depends on ``b``."""
        return self.draw_edge(a, b, self.edge_scheme, attrs)

    def draw_node(
        self,
        obj: object,
        scheme: Mapping[str, Any] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> str:
        """A node, as a line."""
        return f"{self.INp}{_quoted(self.label(obj))} [{self.attrs(attrs, scheme)}]"

    def draw_edge(
        self,
        a: object,
        b: object,
        scheme: Mapping[str, Any] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> str:
        """An edge, as a line."""
        ends = f"{_quoted(self.label(a))} {self.direction} {_quoted(self.label(b))}"
        return f"{self.INp}{ends} [{self.attrs(attrs, scheme)}]"


def _quoted(value: object) -> str:
    """A string of the DOT language; numbers as they are."""
    if isinstance(value, int | float):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
