"""``umbel graph``: drawings for Graphviz, of a worker's parts and of a fleet.

Source:
    Celery reference, "Command Line Interface", ``celery graph``: words that the drawings
    understand.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from umbel.cli.options import UmbelCommand, UmbelGroup
from umbel.cli.session import Session, pass_session

if TYPE_CHECKING:
    from umbel.utils.graph import DependencyGraph

__all__ = ["graph"]

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_LOOKS: dict[str, dict[str, Any]] = {
    "worker": {},
    "process": {"shape": "oval", "fillcolor": "lightcyan4", "fontcolor": "yellow", "fontsize": 10},
    "broker": {"shape": "circle", "fillcolor": "cadetblue3", "color": "cadetblue4"},
    "backend": {"shape": "folder", "fillcolor": "peachpuff3", "color": "black"},
}


@click.group(cls=UmbelGroup)
def graph() -> None:
    """Draw, in the DOT language: umbel graph workers | dot -Tsvg > workers.svg."""


@graph.command(cls=UmbelCommand)
@click.argument("which", nargs=-1, type=click.Choice(["worker", "consumer"], case_sensitive=False))
@pass_session
def bootsteps(session: Session, /, which: Sequence[str]) -> None:
    """Draw the parts of a worker, and which others each needs.

    'consumer': what takes messages in, with all that it needs; 'worker': the other parts.
    """
    # Only a drawing of a worker needs a worker.
    from umbel.utils.graph import DependencyGraph

    needs = _needs()
    taking_in = _all_below("Intake", needs) | _all_below("Feed", needs)
    steps = session.app.steps
    wanted = which or ("worker", "consumer")
    shown = {name for name in needs if ("consumer" if name in taking_in else "worker") in wanted}
    graph: DependencyGraph[str] = DependencyGraph()
    graph.update(
        (name, [other for other in others if other in shown])
        for name, others in needs.items()
        if name in shown
    )
    graph.update((step.__name__, ()) for kind in wanted for step in steps.get(kind, ()))
    graph.to_dot(sys.stdout)


def _needs() -> dict[str, list[str]]:
    """The parts of a worker, each with the parts that its constructor takes."""
    # As above.
    import importlib
    import pkgutil

    import umbel.worker

    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(umbel.worker.__path__, "umbel.worker.")
    ]
    found: dict[str, type] = {
        name: cls
        for module in modules
        for name, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__ and "__init__" in cls.__dict__
    }
    needs: dict[str, list[str]] = {}
    for name, cls in found.items():
        words = " ".join(map(str, inspect.get_annotations(cls.__dict__["__init__"]).values()))
        needs[name] = [word for word in re.findall(r"\w+", words) if word in found and word != name]
    linked = {name for name, others in needs.items() if others} | {
        other for others in needs.values() for other in others
    }
    return {name: list(dict.fromkeys(needs[name])) for name in sorted(linked)}


def _all_below(root: str, needs: dict[str, list[str]]) -> set[str]:
    below, waiting = {root}, [root]
    while waiting:
        for other in needs.get(waiting.pop(), ()):
            if other not in below:
                below.add(other)
                waiting.append(other)
    return below


@graph.command(cls=UmbelCommand)
@click.argument("words", nargs=-1, metavar="[WORD[:VALUE]]...")
@pass_session
def workers(session: Session, /, words: Sequence[str]) -> None:
    """Draw the workers that are online, their processes, the broker and the result backend.

    nodes:a,b and threads:2,4 draw these instead of asking; broker:URL and backend:URL name
    others; wmax:4 and tmax:3 are the most workers and processes drawn one by one (0: all);
    'generic' hides addresses, 'enumerate' names.
    """
    given = dict(_word(text) for text in words)
    nodes, sizes = _fleet(session, given)
    drawn_nodes = _few(nodes, "Worker", _number(given, "wmax", 4), given)
    kept = _kept(sizes, _number(given, "wmax", 4))
    made: list[tuple[str, str, list[str]]] = []
    broker = _place(session, given, "broker")
    backend = _place(session, given, "backend")
    hubs = [name for name in (broker, backend) if name]
    made.append(("broker", broker, []))
    if backend:
        made.append(("backend", backend, []))
    for index, node in enumerate(drawn_nodes):
        made.append(("worker", node, hubs))
        size = kept[index] if index < len(kept) else 0
        numbers = [str(number) for number in range(size)]
        made += [
            ("process", f"{node}/{label}", [node])
            for label in _few(numbers, "P", _number(given, "tmax", 3), given)
        ]
    _draw(made)


def _word(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    known = {"nodes", "threads", "backend", "broker", "wmax", "tmax", "generic", "enumerate"}
    if name not in known:
        raise click.UsageError(f"{text!r} is none of {', '.join(sorted(known))}.")
    return name, value


def _number(given: dict[str, str], name: str, default: int) -> int:
    text = given.get(name, str(default)) or "0"
    if not text.isdigit():
        raise click.UsageError(f"{name}:{text} is not a number.")
    return int(text)


def _fleet(session: Session, given: dict[str, str]) -> tuple[list[str], list[int]]:
    """The names of workers, and how many tasks each can run at once."""
    if "nodes" in given:
        sizes = [size for size in given.get("threads", "").split(",") if size]
        if not all(size.isdigit() for size in sizes):
            raise click.UsageError(f"threads:{given['threads']} are not numbers.")
        return given["nodes"].split(","), [int(size) for size in sizes]
    replies: dict[str, Any] = session.app.control.inspect().stats() or {}
    nodes = sorted(replies)
    return nodes, [int(replies[node]["pool"]["max-concurrency"] or 0) for node in nodes]


def _place(session: Session, given: dict[str, str], kind: str) -> str:
    # Addresses are shown without their passwords.
    from umbel.app.connecting.drivers import DISABLED
    from umbel.app.connecting.urls import safe_url, shown_url

    app = session.app
    if kind in given:
        url = given[kind]
        shown = safe_url(url) if url else ""
    else:
        url = app.broker_url if kind == "broker" else app.backend_url
        shown = "" if url == DISABLED else shown_url(url, app.project)
    if "generic" in given and shown:
        return f"{kind.capitalize()} ({shown.partition('://')[0]}://)"
    # What is broker and backend at once is drawn as two.
    return f"{kind}: {shown}" if shown else ""


def _kept(sizes: list[int], most: int) -> list[int]:
    return [*sizes[: most - 1], sizes[-1]] if most and len(sizes) > most else sizes


def _few(names: list[str], kind: str, most: int, given: dict[str, str]) -> list[str]:
    """At most so many: the first ones, one that stands for those left out, and the last one."""
    count = len(names)
    if "enumerate" in given:
        names = [f"{kind}{_small(number)}" for number in range(1, count + 1)]
    if not most or count <= most:
        return names
    few = [*names[: most - 1], names[-1]]
    if most > 1:
        few[most - 2] = f"{kind[0]}⎨…{_small(count - (most - 1))}⎬"
    return few


def _small(number: int) -> str:
    return str(number).translate(_SUBSCRIPTS)


def _draw(made: list[tuple[str, str, list[str]]]) -> None:
    # Only here.
    from umbel.utils.graph import DependencyGraph, GraphFormatter

    kinds = {name: kind for kind, name, _ in made}

    class Formatter(GraphFormatter):
        def _looks(self, name: object) -> dict[str, Any]:
            kind = kinds[str(name)]
            looks = dict(_LOOKS[kind])
            if kind == "process":
                # Its worker's name makes it unique, and need not be read.
                looks["label"] = str(name).rpartition("/")[2]
            return looks

        def node(self, obj: object, **attrs: Any) -> str:
            return self.draw_node(obj, self.node_scheme, {**self._looks(obj), **attrs})

        def terminal_node(self, obj: object, **attrs: Any) -> str:
            return self.draw_node(obj, self.term_scheme, {**self._looks(obj), **attrs})

    drawing: DependencyGraph[str] = DependencyGraph(
        [(name, others) for _, name, others in made], Formatter()
    )
    drawing.to_dot(sys.stdout)
