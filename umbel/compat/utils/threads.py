"""Values of each thread, and threads that serve.

Source:
    Celery reference, ``celery.utils.threads``: names and behaviour.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, cast

from umbel.compat.local import Proxy
from umbel.compat.moved import try_import

__all__ = [
    "Local",
    "LocalManager",
    "LocalStack",
    "bgThread",
    "default_socket_timeout",
    "get_ident",
    "release_local",
]

T = TypeVar("T")

_greenlet = try_import("greenlet")

get_ident: Callable[[], Hashable] = (
    threading.get_ident if _greenlet is None else _greenlet.getcurrent
)
"""What tells one thread, or green thread, from the others."""


@contextmanager
def default_socket_timeout(timeout: float | None) -> Generator[None]:
    """Let sockets that are made meanwhile wait for that many seconds; None: for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


class bgThread(threading.Thread):  # noqa: N801 - documented name
    """A thread that calls :meth:`body` again and again, until :meth:`stop`.

    What ``body`` raises ends the process: a service that is gone is noticed then.
    """

    def __init__(self, name: str | None = None, **_kwargs: Any) -> None:
        super().__init__(name=name or type(self).__name__, daemon=True)
        self._ends = threading.Event()
        self._has_ended = threading.Event()

    def body(self) -> None:
        """What is done."""
        raise NotImplementedError

    def on_crash(self, msg: str, *fmt: Any, **_kwargs: Any) -> None:
        """Say what ``body`` has raised."""
        print(msg.format(*fmt), file=sys.stderr)  # noqa: T201 - there may be no log any more
        traceback.print_exc(None, sys.stderr)

    def run(self) -> None:
        """Do it until the end."""
        try:
            while not self._ends.is_set():
                try:
                    self.body()
                except Exception as error:  # noqa: BLE001 - subclasses are user code
                    try:
                        self.on_crash("{0!r} crashed: {1!r}", self.name, error)
                    finally:
                        sys.stderr.flush()
                        os._exit(1)
        finally:
            self._has_ended.set()

    def stop(self) -> None:
        """End, and wait for the end of what is being done."""
        self._ends.set()
        if self.is_alive():
            self._has_ended.wait()
            self.join(threading.TIMEOUT_MAX)


def release_local(local: Local | LocalStack[Any]) -> None:
    """Forget what this thread has put there."""
    local.__release_local__()


class Local:
    """Attributes of each thread."""

    def __init__(self) -> None:
        vars(self)["_values_by_thread"] = {}
        vars(self)["__ident_func__"] = get_ident

    def _values(self) -> dict[str, Any]:
        ident: Hashable = vars(self)["__ident_func__"]()
        return cast("dict[str, Any]", vars(self)["_values_by_thread"].setdefault(ident, {}))

    def __iter__(self) -> Iterator[tuple[Hashable, dict[str, Any]]]:
        return iter(vars(self)["_values_by_thread"].items())

    def __call__(self, proxy: str) -> Any:
        """What stands for the attribute of that name, whatever it is when it is used."""
        return Proxy(self, name=proxy)

    def __release_local__(self) -> None:
        vars(self)["_values_by_thread"].pop(vars(self)["__ident_func__"](), None)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values()[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._values()[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self._values()[name]
        except KeyError:
            raise AttributeError(name) from None


class LocalStack(Generic[T]):
    """A stack of each thread.

    >>> stack = LocalStack()
    >>> stack.push("a"), stack.top, stack.pop(), stack.top
    (['a'], 'a', 'a', None)
    """

    def __init__(self) -> None:
        self._local = Local()

    def __release_local__(self) -> None:
        self._local.__release_local__()

    def __call__(self) -> Any:
        """What stands for the top, whatever it is when it is used.

        It raises RuntimeError where the stack is empty.
        """

        def top() -> T:
            if self.top is None:
                raise RuntimeError("object unbound")
            return self.top

        return Proxy(top)

    @property
    def stack(self) -> list[T]:
        """From the bottom to the top."""
        return cast("list[T]", getattr(self._local, "stack", []))

    @property
    def top(self) -> T | None:
        """What was pushed last; None: nothing."""
        return self.stack[-1] if self.stack else None

    def push(self, obj: T) -> list[T]:
        """Put something on top; returns the stack."""
        stack = self.stack
        self._local.stack = stack
        stack.append(obj)
        return stack

    def pop(self) -> T | None:
        """Take what is on top; None: nothing."""
        stack = self.stack
        if len(stack) == 1:
            # A thread that ends leaves nothing behind.
            release_local(self._local)
            return stack[0]
        return stack.pop() if stack else None

    def __len__(self) -> int:
        return len(self.stack)


class LocalManager:
    """Several of them, released together.

    Args:
        locals: One or several.
        ident_func: What tells threads apart, instead of :func:`get_ident`.
    """

    def __init__(
        self,
        locals: Local | Iterable[Any] | None = None,
        ident_func: Callable[[], Hashable] | None = None,
    ) -> None:
        self.locals = [locals] if isinstance(locals, Local) else list(locals or ())
        self.ident_func = ident_func or get_ident
        for local in self.locals if ident_func is not None else ():
            vars(local)["__ident_func__"] = ident_func

    def get_ident(self) -> Hashable:
        """What tells this thread from the others."""
        return self.ident_func()

    def cleanup(self) -> None:
        """Forget what this thread has put there."""
        for local in self.locals:
            release_local(local)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} storages: {len(self.locals)}>"
