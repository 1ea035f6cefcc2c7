"""One task for many arguments: all in one message (map, starmap), or in portions (chunks)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from umbel.canvas.groups import group
from umbel.canvas.lazy import LazyList, kept
from umbel.canvas.plan import is_mapping
from umbel.canvas.sender import Sender
from umbel.canvas.signature import Signature

__all__ = ["chunks", "xmap", "xstarmap"]


class _Map(Signature):
    """One task that calls another for each item."""

    name_of_task = ""

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        """``task``, a signature, for each of the items ``it``."""
        app = options.pop("app", None)
        options.setdefault("route_name", _name(task))
        entries = {"task": task, "it": [*it]}
        super().__init__(self.name_of_task, (), entries, options, immutable=True, app=app)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Sender | None = None) -> Signature:
        """The signature that ``d`` is the form of."""
        kwargs = d["kwargs"]
        return cls(kwargs["task"], kwargs["it"], app=app, **(d.get("options") or {}))


@Signature.register_type()
class xmap(_Map):  # noqa: N801 - Celery's name
    """A task that calls another with each item, one after the other; gives the list of values."""

    name_of_task = "celery.map"

    def __repr__(self) -> str:
        return f"[{_name(self.kwargs['task'])}(x) for x in {_short(self.kwargs['it'])}]"


@Signature.register_type()
class xstarmap(_Map):  # noqa: N801 - Celery's name
    """As :class:`xmap`, but each item is all of the arguments."""

    name_of_task = "celery.starmap"

    def __repr__(self) -> str:
        return f"[{_name(self.kwargs['task'])}(*x) for x in {_short(self.kwargs['it'])}]"


@Signature.register_type()
class chunks(Signature):  # noqa: N801 - Celery's name
    """Many calls of one task in few messages: a group of ``xstarmap``, ``n`` items each."""

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        """``task``, a signature, for each of the items ``it``, which are all of its arguments."""
        app = options.pop("app", None)
        entries = {"task": task, "it": kept(it), "n": n}
        super().__init__("celery.chunks", (), entries, options, immutable=True, app=app)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Sender | None = None) -> Signature:
        """The signature that ``d`` is the form of."""
        kwargs = d["kwargs"]
        options: dict[str, Any] = d.get("options") or {}
        return cls(kwargs["task"], kwargs["it"], kwargs["n"], app=app, **options)

    def __call__(self, **options: Any) -> Any:
        """Send it; see :meth:`apply_async`."""
        return self.apply_async(**options)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:  # type: ignore[override]  # a group's result
        """Send the portions, as a group; returns its result."""
        return self.group().apply_async(args, kwargs, **{**self.options, **options})

    async def aapply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:  # type: ignore[override]  # as above
        """:meth:`apply_async`, without blocking the running loop."""
        return await self.group().aapply_async(args, kwargs, **{**self.options, **options})

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the portions here and now."""
        return self.group().apply(args, kwargs, **{**self.options, **options})

    def group(self) -> group:
        """The portions as a group; of a generator, made as they are sent."""
        task, items, size = (self.kwargs[name] for name in ("task", "it", "n"))
        app = self._app or getattr(task, "app", None)
        parts = _portions(task, items, max(int(size), 1), app)
        is_lazy = getattr(items, "is_lazy", False)
        return group(parts if is_lazy else [*parts], app=app)

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: Sender | None = None) -> Any:
        """Send the portions at once; returns their result."""
        return cls(task, it, n, app=app)()


def _portions(task: Any, items: Any, size: int, app: Any) -> Iterator[xstarmap]:
    rows = items.drain() if isinstance(items, LazyList) and items.is_lazy else iter(items)
    while part := [*islice(rows, size)]:
        yield xstarmap(task, part, app=app)


def _name(task: Any) -> str:
    return str(task["task"] if is_mapping(task) else task.name)


def _short(items: Any) -> str:
    text = repr(items)
    return text if len(text) <= 100 else f"{text[:97]}..."
