"""``celery.worker.state``: the books of the workers that run in this process, as they are now.

Celery keeps them here; umbel's workers have their own, which these show. Where no worker runs
everything is empty: in the processes of a pool, too.

Source:
    Celery internals reference, ``celery.worker.state``: names.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from types import ModuleType
from typing import Any, NoReturn, cast

from umbel.compat.utils.bounded import LimitedSet
from umbel.exceptions import WorkerShutdown, WorkerTerminate
from umbel.worker.commands.state import Consumer, ControlState, running_consumers
from umbel.worker.fetching.admission import Accepted
from umbel.worker.fleet.heart import software
from umbel.worker.request import Request
from umbel.worker.revoking.revocations import of_ids
from umbel.worker.revoking.statedb import StateFile
from umbel.worker.shutdown import How
from umbel.worker.state import REVOKE_EXPIRES, REVOKES_MAX

__all__ = [
    "REVOKES_MAX",
    "REVOKE_EXPIRES",
    "SOFTWARE_INFO",
    "Persistent",
    "active_requests",
    "all_total_count",
    "maybe_shutdown",
    "merge_revoked",
    "requests",
    "reserved_requests",
    "revoked",
    "revoked_stamps",
    "scheduled_requests",
    "should_stop",
    "should_terminate",
    "total_count",
]

SOFTWARE_INFO = software()
"""What runs here, as worker events say it."""


def _controls() -> Iterator[ControlState]:
    return (ControlState(consumer) for consumer in list(running_consumers))


class _Requests(AbstractSet[Request]):
    """Some of the requests of the workers."""

    def __init__(self, look: Callable[[ControlState], list[Accepted]]) -> None:
        self._see = look

    def _look(self, control: ControlState) -> list[Accepted]:
        while True:
            # Whoever asks may be in another thread than the worker, whose books change meanwhile.
            with suppress(RuntimeError):
                return self._see(control)

    def __iter__(self) -> Iterator[Request]:
        for control in _controls():
            yield from map(Request, self._look(control))

    def __contains__(self, request: object) -> bool:
        return any(each.id == getattr(request, "id", None) for each in self)

    def __len__(self) -> int:
        return sum(len(self._look(control)) for control in _controls())

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, self))}}}"


active_requests = _Requests(ControlState.running)
"""What runs."""
reserved_requests = _Requests(lambda control: [*control.running(), *control.waiting()])
"""What runs, or will as soon as it may."""
scheduled_requests = _Requests(ControlState.held)
"""What is not due yet."""


class _ById(Mapping[str, Request]):
    """All requests of the workers, by the task's id."""

    def _all(self) -> dict[str, Request]:
        return {each.id: each for each in (*scheduled_requests, *reserved_requests)}

    def __getitem__(self, id: str) -> Request:
        return self._all()[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return repr(self._all())


requests: Mapping[str, Request] = _ById()
"""All of them, by the task's id."""


class _Totals(Mapping[str, int]):
    """How many tasks of each name were started."""

    def _sums(self) -> Counter[str]:
        sums: Counter[str] = Counter()
        for control in _controls():
            sums.update(control.worker.state.totals)
        return sums

    def __getitem__(self, name: str) -> int:
        return self._sums()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sums())

    def __len__(self) -> int:
        return len(self._sums())

    def most_common(self, n: int | None = None) -> list[tuple[str, int]]:
        """The names, those with most tasks first."""
        return self._sums().most_common(n)

    def total(self) -> int:
        """Of all names."""
        return self._sums().total()

    def __repr__(self) -> str:
        return repr(self._sums())


total_count = _Totals()
"""How many tasks of each name were started; 0 of those that nobody knows."""


class _Total(Mapping[int, int]):
    """A list of one number, as Celery has it."""

    def __getitem__(self, index: int) -> int:
        return [total_count.total()][index]

    def __iter__(self) -> Iterator[int]:
        yield total_count.total()

    def __len__(self) -> int:
        return 1

    def __repr__(self) -> str:
        return repr(list(self))


all_total_count = _Total()
"""``all_total_count[0]``: how many tasks were started."""


class _Revoked(LimitedSet):
    """The ids of the tasks that the workers do not run."""

    def _ids(self) -> list[str]:
        return list(dict.fromkeys(id for c in _controls() for id in c.worker.state.revocations.ids))

    def __contains__(self, item: object) -> bool:
        return any(item in control.worker.state.revocations.ids for control in _controls())

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids())

    def __len__(self) -> int:
        return len(self._ids())

    def add(self, item: Any, now: float | None = None) -> None:
        """Revoke a task, here only and without ending it; ``app.control.revoke`` tells others."""
        self.update([item])

    def update(self, other: Iterable[Any]) -> None:
        """Revoke several tasks.

        Raises:
            RuntimeError: No worker runs in this process.
        """
        added = of_ids(map(str, other))
        controls = list(_controls())
        if added and not controls:
            raise RuntimeError(
                f"cannot revoke {added[0].id} here: no worker runs in this process. "
                "Use app.control.revoke, which tells them all."
            )
        for control in controls:
            control.worker.state.revocations.add(added)

    def discard(self, item: Any) -> NoReturn:
        """Nothing: a revoked task stays revoked.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(f"{item} cannot be taken back: workers share what was revoked.")

    def purge(self, now: object = None) -> None:
        """Nothing: the workers forget by themselves."""

    def as_dict(self) -> dict[Any, float]:
        """Not told: when each was revoked."""
        return dict.fromkeys(self._ids(), 0.0)


revoked = _Revoked(maxlen=REVOKES_MAX, expires=REVOKE_EXPIRES)
"""The ids of the tasks that the workers do not run."""


class _Stamps(Mapping[str, list[str]]):
    """The values of stamped headers whose tasks the workers do not run."""

    def _all(self) -> dict[str, list[str]]:
        found: dict[str, dict[str, None]] = {}
        for control in _controls():
            for header, values in control.worker.state.revocations.stamps.items():
                found.setdefault(header, {}).update(dict.fromkeys(values))
        return {header: list(values) for header, values in found.items()}

    def __getitem__(self, header: str) -> list[str]:
        return self._all()[header]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return repr(self._all())


revoked_stamps: Mapping[str, list[str]] = _Stamps()
"""The values of stamped headers whose tasks the workers do not run, by header."""


def merge_revoked(task_ids: Iterable[str]) -> None:
    """Revoke what was revoked elsewhere.

    Raises:
        RuntimeError: No worker runs in this process.
    """
    if task_ids:
        revoked.update(list(task_ids))


class Persistent:
    """The file that remembers what was revoked while no worker runs: umbel's, as ``--statedb``.

    Args:
        state: What has ``revoked`` and ``merge_revoked``: this module.
        filename: It is read at once.
        clock: A logical clock; not kept, workers ask each other for the time.
    """

    def __init__(self, state: Any, filename: str | os.PathLike[str], clock: Any = None) -> None:
        self.state = state
        self.filename = filename
        self.clock = clock
        self._file = StateFile(filename)
        self.merge()

    def merge(self) -> None:
        """Revoke what the file has."""
        self.state.merge_revoked([each.id for each in self._file.read() if each.id])

    def sync(self) -> None:
        """Write what is revoked to the file."""
        self._file.write(of_ids(self.state.revoked))

    def save(self) -> None:
        """As :meth:`sync`; there is nothing to close."""
        self.sync()

    def close(self) -> None:
        """Nothing: the file is open while it is read or written only."""


should_stop: Any = None
"""Set to end the workers of this process the warm way; True or an exit code."""
should_terminate: Any = None
"""Likewise, the cold way."""


def maybe_shutdown() -> None:
    """Raise if either of the two is set.

    Raises:
        WorkerTerminate: ``should_terminate`` is.
        WorkerShutdown: ``should_stop`` is.
    """
    if should_terminate is not None and should_terminate is not False:
        raise WorkerTerminate(should_terminate)
    if should_stop is not None and should_stop is not False:
        raise WorkerShutdown(should_stop)


_HOW: dict[str, How] = {"should_stop": "warm", "should_terminate": "cold"}


class _Module(ModuleType):
    """Notices when one of the two is set."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        how = _HOW.get(name)
        if how is not None and value is not None and value is not False:
            for consumer in list(running_consumers):
                _stop(consumer, how, name)


def _stop(consumer: Consumer, how: How, why: str) -> None:
    with suppress(RuntimeError):  # Its loop is closed: it has ended.
        # From whichever thread it was set in.
        consumer.loop.call_soon_threadsafe(consumer.controller.stop, how, why)


cast("Any", sys.modules[__name__]).__class__ = _Module
