"""Bootsteps: what programs add to a worker, under Celery's names.

::

    class Greeting(StartStopStep):
        requires = {"celery.worker.components:Pool"}

        def start(self, worker):
            print("hello from", worker.hostname)

        def stop(self, worker):
            print("goodbye")

    app.steps["worker"].add(Greeting)

umbel's worker itself is not made of steps: these are started when it is ready, and stopped when
it has ended what it runs. They are called on its event loop, and must not block it.

Source:
    Celery user guide, Extensions and Bootsteps; reference, ``celery.bootsteps``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from threading import Event
from typing import Any, ClassVar

from umbel.exceptions import ImproperlyConfigured
from umbel.utils.imports import qualname, symbol_by_name

__all__ = ["Blueprint", "ConsumerStep", "StartStopStep", "Step"]

logger = logging.getLogger(__name__)

RUN = 1
CLOSE = 2
TERMINATE = 3


class _StepType(type):
    """Gives each step a name, and what it requires as names."""

    name: str
    requires: Any

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> _StepType:
        module = attributes.get("__module__")
        qualified = f"{module}.{attributes.get('__qualname__', name)}" if module else name
        required = attributes.get("requires", ())
        return super().__new__(
            cls,
            name,
            bases,
            {
                **attributes,
                "name": attributes.get("name") or qualified,
                "requires": (required,) if isinstance(required, str | type) else tuple(required),
            },
        )

    def __str__(cls) -> str:
        return cls.name

    def __repr__(cls) -> str:
        return f"step:{cls.name}{{{cls.requires!r}}}"


class Step(metaclass=_StepType):
    """Something that is done when a worker is made.

    Args:
        parent: The worker; of consumer steps, its consumer.
    """

    name: str = ""
    label: str | None = None
    """For people; the name's last part by default."""
    conditional = False
    requires: Any = ()
    """Steps, or their names, that come before this one; those of Celery's worker mean what the
    worker has anyway."""
    last = False
    """Whether it comes after all others."""
    enabled: Any = True

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        pass

    def __repr__(self) -> str:
        return f"<step: {self.alias}>"

    @property
    def alias(self) -> str:
        """What people call it."""
        return self.label or self.name.rpartition(".")[2]

    def include_if(self, parent: Any, /) -> bool:
        """Whether it is wanted."""
        return bool(self.enabled)

    def instantiate(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """An object of the class of that name."""
        return symbol_by_name(name)(*args, **kwargs)

    def include(self, parent: Any, /) -> bool:
        """Do what is to be done, if it is wanted; returns whether it is."""
        if not self.include_if(parent):
            return False
        self.create(parent)
        return True

    def create(self, parent: Any, /) -> Any:
        """Do what is to be done; to be overridden."""

    def info(self, obj: Any, /) -> Mapping[str, Any]:
        """What ``inspect stats`` says of it."""
        return {}


class StartStopStep(Step):
    """Something that is started and stopped with the worker: what :meth:`create` returns, or the
    step itself where the methods are overridden."""

    obj: Any = None

    def start(self, parent: Any, /) -> Any:
        """The worker is ready."""
        return self.obj.start() if self.obj else None

    def stop(self, parent: Any, /) -> Any:
        """The worker has ended."""
        return self.obj.stop() if self.obj else None

    def close(self, parent: Any, /) -> Any:
        """The worker is about to end."""

    def terminate(self, parent: Any, /) -> Any:
        """The worker has ended, and nobody has waited for what ran."""
        if self.obj:
            return getattr(self.obj, "terminate", self.obj.stop)()
        return self.stop(parent)

    def include(self, parent: Any, /) -> bool:
        """Make what is to be started, if it is wanted; returns whether it is."""
        if not self.include_if(parent):
            return False
        self.obj = self.create(parent)
        parent.steps.append(self)
        return True


class ConsumerStep(StartStopStep):
    """Receives messages that are no tasks: :meth:`get_consumers` says from where."""

    requires = ("celery.worker.consumer:Connection",)
    consumers: Any = None

    def get_consumers(self, channel: Any) -> Any:
        """Consumers of ``channel``: ``[kombu.Consumer(channel, queues=…, callbacks=…)]``."""
        raise NotImplementedError("missing get_consumers")

    def start(self, c: Any, /) -> None:
        """Begin to receive."""
        self.consumers = self.get_consumers(c.connection.channel())
        for consumer in self.consumers or ():
            consumer.consume()

    def stop(self, c: Any, /) -> None:
        """Receive no more."""
        consumers, self.consumers = self.consumers, None
        for consumer in consumers or ():
            consumer.cancel()

    shutdown = stop


class Blueprint:
    """Steps, in the order that they require.

    Args:
        steps: Classes, or their names, beside :attr:`default_steps`.
    """

    name: str | None = None
    state: int | None = None
    started = 0
    default_steps: ClassVar[Iterable[Any]] = frozenset()

    def __init__(
        self,
        steps: Iterable[Any] | None = None,
        name: str | None = None,
        on_start: Callable[[], object] | None = None,
        on_close: Callable[[], object] | None = None,
        on_stopped: Callable[[], object] | None = None,
    ) -> None:
        self.name = name or self.name or type(self).__name__
        self.types: list[Any] = [*(steps or ()), *self.default_steps]
        self.on_start, self.on_close, self.on_stopped = on_start, on_close, on_stopped
        self.steps: dict[str, Step] = {}
        self.order: list[Step] = []
        self._over = Event()

    def __getitem__(self, name: str) -> Step:
        return self.steps[name]

    @property
    def alias(self) -> str:
        """What people call it."""
        return str(self.name).rpartition(".")[2]

    def human_state(self) -> str:
        """The state, for people."""
        return {None: "initializing", RUN: "running", CLOSE: "closing"}.get(
            self.state, "terminating"
        )

    def claim_steps(self) -> dict[str, Any]:
        """The classes of the steps, by name."""
        return dict(self.load_step(step) for step in self.types)

    def load_step(self, step: Any) -> tuple[str, Any]:
        """The name and the class of a step."""
        found = symbol_by_name(step)
        return found.name, found

    def apply(self, parent: Any, **kwargs: Any) -> Blueprint:
        """Make the steps, in order; ``parent.steps`` has those that are to be started."""
        ordered = _in_order(self.claim_steps())
        self.order = [kind(parent, **kwargs) for kind in ordered]
        self.steps = {step.name: step for step in self.order}
        for step in self.order:
            step.include(parent)
        return self

    def start(self, parent: Any) -> None:
        """Start them, in order."""
        self.state = RUN
        if self.on_start is not None:
            self.on_start()
        for count, step in enumerate(parent.steps, 1):
            logger.debug("%s: Starting %s", self.alias, step.alias)
            self.started = count
            step.start(parent)

    def close(self, parent: Any) -> None:
        """Tell them that the end is near."""
        if self.on_close is not None:
            self.on_close()
        self.send_all(parent, "close", "closing", reverse=False)

    def stop(self, parent: Any, close: bool = True, terminate: bool = False) -> None:
        """Stop them, the last one first. One that fails does not keep the others from it."""
        if self.state in {CLOSE, TERMINATE}:
            return
        if close:
            self.close(parent)
        self.state = CLOSE
        self.send_all(
            parent,
            "terminate" if terminate else "stop",
            "terminating" if terminate else "stopping",
            propagate=False,
        )
        if self.on_stopped is not None:
            self.on_stopped()
        self.state = TERMINATE
        self._over.set()

    def restart(
        self,
        parent: Any,
        method: str = "stop",
        description: str = "restarting",
        propagate: bool = False,
    ) -> None:
        """Stop them for :meth:`start` to be called again."""
        self.send_all(parent, method, description, propagate=propagate)

    def send_all(
        self,
        parent: Any,
        method: str,
        description: str | None = None,
        reverse: bool = True,
        propagate: bool = True,
        args: Iterable[Any] = (),
    ) -> None:
        """Call a method of all steps that have it."""
        steps = list(parent.steps)[: self.started or None]
        for step in reversed(steps) if reverse else steps:
            function = getattr(step, method, None)
            if function is None:
                continue
            logger.debug("%s: %s %s", self.alias, description or method, step.alias)
            try:
                function(parent, *args)
            except Exception:
                if propagate:
                    raise
                logger.exception("Error on %s %s", description or method, step.alias)

    def join(self, timeout: float | None = None) -> None:
        """Wait until they are stopped."""
        self._over.wait(timeout)

    def info(self, parent: Any) -> dict[str, Any]:
        """What they say of themselves."""
        found: dict[str, Any] = {}
        for step in self.order:
            found |= step.info(parent) or {}
        return found


def _in_order(kinds: Mapping[str, Any]) -> list[Any]:
    """Each after what it requires, the last ones last; otherwise by name."""
    ordered: list[Any] = []
    visiting: list[str] = []

    def visit(kind: Any) -> None:
        if kind in ordered:
            return
        if kind.name in visiting:
            raise ImproperlyConfigured(f"steps require each other: {[*visiting, kind.name]}")
        visiting.append(kind.name)
        for required in kind.requires:
            found = required if isinstance(required, type) else symbol_by_name(required)
            if qualname(found) in known:
                visit(known[qualname(found)])
        visiting.pop()
        ordered.append(kind)

    known = {qualname(kind): kind for kind in kinds.values()}
    for kind in sorted(kinds.values(), key=lambda kind: (kind.last, kind.name)):
        visit(kind)
    return ordered
