"""Which commands there are.

Source:
    Celery reference, ``celery.worker.control``; user guide, Workers, "Writing your own remote
    control commands": names and options.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeVar, overload

import msgspec

__all__ = ["CommandInfo", "Panel", "control_command", "inspect_command", "nok", "ok"]

_F = TypeVar("_F", bound=Callable[..., Any])
_Kind = Literal["control", "inspect"]
_Arguments = Sequence[tuple[str, Callable[[str], Any] | None]]


class CommandInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line knows of a command."""

    alias: str | None = None
    type: str = "control"
    visible: bool = True
    """Whether it is listed."""
    default_timeout: float = 1.0
    """Seconds."""
    help: str = ""
    signature: str | None = None
    """Its arguments, for people."""
    args: _Arguments | None = None
    """The names of its arguments, in order, and what makes values of text."""
    variadic: str | None = None
    """The name of the argument that takes all the others."""


class Panel(UserDict[str, Callable[..., Any]]):
    """The commands of this process, by name. Filled by :func:`control_command` and
    :func:`inspect_command` where modules define commands."""

    data: ClassVar[dict[str, Callable[..., Any]]] = {}  # type: ignore[misc]  # one for all, as documented
    meta: ClassVar[dict[str, CommandInfo]] = {}

    @overload
    @classmethod
    def register(cls, function: _F, /) -> _F: ...
    @overload
    @classmethod
    def register(
        cls,
        /,
        *,
        name: str | None = None,
        alias: str | None = None,
        type: str = "control",
        visible: bool = True,
        default_timeout: float = 1.0,
        help: str | None = None,
        signature: str | None = None,
        args: _Arguments | None = None,
        variadic: str | None = None,
    ) -> Callable[[_F], _F]: ...
    @classmethod
    def register(cls, function: Any = None, /, **options: Any) -> Any:
        """Add a command: a function of ``state`` and the command's arguments.

        What it returns is the reply; what it raises is replied as an error. It may be a coroutine
        function. It runs on the worker's event loop, so it must not block.
        """

        def add(function: _F) -> _F:
            name = options.pop("name", None) or function.__name__
            text = options.pop("help", None) or (function.__doc__ or "").strip().split("\n")[0]
            info = CommandInfo(help=text, **options)
            cls.data[name] = function
            cls.meta[name] = info
            if info.alias:
                cls.data[info.alias] = function
            return function

        return add if function is None else add(function)


def control_command(**options: Any) -> Callable[[_F], _F]:
    """A command that changes something; for the options see :class:`CommandInfo`.

    ::

        @control_command(args=[("n", int)], signature="[N=1]")
        def increase_prefetch_count(state, n=1):
            state.consumer.qos.increment_eventually(n)
            return {"ok": "prefetch count incremented"}
    """
    return Panel.register(type="control", **options)


def inspect_command(**options: Any) -> Callable[[_F], _F]:
    """A command that changes nothing; for the options see :class:`CommandInfo`."""
    return Panel.register(type="inspect", **options)


def ok(value: Any) -> dict[str, Any]:
    """The reply that all is well."""
    return {"ok": value}


def nok(value: Any) -> dict[str, Any]:
    """The reply that it is not."""
    return {"error": value}
