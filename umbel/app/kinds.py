"""The part of an app that knows the classes of its tasks, of its workers and the like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from umbel.app import task
from umbel.app.current import get_current_app
from umbel.app.parts import Parts
from umbel.app.registry import TaskRegistry
from umbel.utils.imports import symbol_by_name

if TYPE_CHECKING:
    from umbel.app.amqp import AMQP
    from umbel.app.control import Control
    from umbel.app.events import Events
    from umbel.app.log import Logging

__all__ = ["Kinds", "class_of"]

_AMQP = "umbel.app.amqp:AMQP"


class Kinds(Parts):
    """Classes are given themselves or as ``module:name``, which is imported when it is needed.

    Source:
        Celery reference, ``celery.Celery``: names; ``subclass_with_self``, ``create_task_cls``.
    """

    task_cls: str | type[task.Task[..., Any]] = task.Task
    """What tasks are made of."""
    registry_cls: str | type[TaskRegistry] = TaskRegistry
    """What keeps them by name."""
    control_cls: str | type[Control] = "umbel.app.control:Control"
    events_cls: str | type[Events] = "umbel.app.events:Events"
    amqp_cls: str | type[AMQP] = _AMQP
    log_cls: str | type[Logging] = "umbel.app.log:Logging"
    """What sets up logging."""
    _log: Logging | None = None

    # Few programs steer workers, listen to events or set up logging, and each costs its import:
    # these are imported by name, when they are asked for.

    @property
    def amqp(self) -> AMQP:
        """Queues and routes under Celery's names; what sends tasks has its own way to them."""
        made: AMQP = self._derive("amqp", lambda _: class_of(self.amqp_cls)(self))
        return made

    def _own_amqp(self) -> Any:
        return None if self.amqp_cls == _AMQP else class_of(self.amqp_cls)

    @property
    def control(self) -> Control:
        """Steers workers, and asks them."""
        made: Control = self._derive("control", lambda _: class_of(self.control_cls)(self))
        return made

    @property
    def events(self) -> Events:
        """Sends events, and listens to them."""
        made: Events = self._derive("events", lambda _: class_of(self.events_cls)(self))
        return made

    @property
    def log(self) -> Logging:
        """Logging, set up as the settings say."""
        made = self._log
        if made is None:
            # Once: it knows whether and how it has been set up.
            made = self._log = class_of(self.log_cls)(self)
        return made

    def create_task_cls(self) -> Any:
        """Makes :attr:`Task`; what an app overrides to have tasks of another class."""
        return self.subclass_with_self(self.task_cls, name="Task", attribute="_app")

    @property
    def Task(self) -> Any:  # noqa: N802 - Celery's name
        """The base of class-based tasks of this app: :attr:`task_cls`, bound to it."""
        kept = self._derived.get("Task")
        if kept is None or kept[0] is not self.task_cls:
            kept = self._derived["Task"] = (self.task_cls, self.create_task_cls())
        return kept[1]

    @Task.setter
    def Task(self, task_cls: Any) -> None:  # noqa: N802 - as above
        self.task_cls = task_cls

    def _base_of_functions(self) -> type[task.Task[..., Any]]:
        # A class of its own for each app is for those who want one.
        if type(self).create_task_cls is not Kinds.create_task_cls:
            return cast("type[task.Task[..., Any]]", self.Task)
        return cast("type[task.Task[..., Any]]", class_of(self.task_cls))

    def subclass_with_self(
        self,
        Class: str | type[Any],  # noqa: N803 - Celery's name
        name: str | None = None,
        attribute: str = "app",
        reverse: str | None = None,
        keep_reduce: bool = False,
        **kw: Any,
    ) -> type[Any]:
        """A subclass whose attribute ``attribute`` is this app.

        Args:
            name: The subclass's; default: the class's.
            reverse: Where an unpickled instance finds its class: an attribute of the app that is
                current then; default: the class's name. The class says in ``__reduce_args__``
                what it is called with.
            keep_reduce: Whether instances are pickled as those of the class are.
            kw: More attributes.
        """
        base = class_of(Class)
        reverse = reverse or base.__name__

        def reduce(instance: Any) -> tuple[Any, ...]:
            return _made_again, (reverse, instance.__reduce_args__())

        attributes = {
            attribute: self,
            "__module__": base.__module__,
            "__doc__": base.__doc__,
            **(
                {}
                if keep_reduce or not hasattr(base, "__reduce_args__")
                else {"__reduce__": reduce}
            ),
            **kw,
        }
        return type(name or base.__name__, (base,), attributes)

    @property
    def Worker(self) -> Callable[..., Any]:  # noqa: N802 - Celery's name
        """Makes a worker of this app: ``app.Worker(concurrency=4).start()``."""
        return self._making("umbel.worker.worker:Worker")

    WorkController = Worker

    @property
    def Beat(self) -> Callable[..., Any]:  # noqa: N802 - Celery's name
        """Makes what runs the scheduler of this app: ``app.Beat(loglevel="INFO").run()``."""
        return self._making("umbel.cli.beat:Beat")

    def _making(self, path: str) -> Callable[..., Any]:
        # What runs apps stands above them: by name.
        def make(*args: Any, **given: Any) -> Any:
            return symbol_by_name(path)(*args, **{"app": self, **given})

        return make


def class_of(kind: str | type[Any]) -> Any:
    """The class that was given itself or by its name."""
    return symbol_by_name(kind) if isinstance(kind, str) else kind


def _made_again(path: str, args: Sequence[Any]) -> Any:
    made: Any = get_current_app()
    for attribute in path.split("."):
        made = getattr(made, attribute)
    return made(*args)
