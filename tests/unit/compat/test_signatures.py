"""What is documented takes the arguments that it takes in Celery, or stands on the list.

Walks the documented names, and what the classes have that programs use most, with the real Celery
and kombu beside: a name that is not there, a parameter that is called otherwise, is in another
place, has become required, or has another simple default is a difference. What Celery takes by
place too, and umbel among ``**options``, is none.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import pytest

from umbel import Umbel
from umbel.compat.alias import Missing, look_up

_HERE = Path(__file__).parent

_MEMBERS = (
    *("celery.Celery", "celery.Task", "celery.Signature", "celery.chain", "celery.chord"),
    *("celery.group", "celery.app.amqp.AMQP", "celery.app.control.Control"),
    *("celery.app.control.Inspect", "celery.app.registry.TaskRegistry", "celery.beat.Scheduler"),
    *("celery.beat.ScheduleEntry", "celery.bootsteps.Step", "celery.bootsteps.StartStopStep"),
    *("celery.concurrency.base.BasePool", "celery.events.EventReceiver"),
    *("celery.events.EventDispatcher", "celery.result.AsyncResult", "celery.result.EagerResult"),
    *("celery.result.GroupResult", "celery.result.ResultSet", "celery.schedules.crontab"),
    *("celery.schedules.schedule", "kombu.Connection", "kombu.Consumer", "kombu.Producer"),
    *("kombu.mixins.ConsumerMixin",),
)
"""Classes whose public methods and attributes are compared, too."""

_SIMPLE = (bool, int, float, str, tuple, type(None))


def _documented() -> Iterator[tuple[str, str]]:
    lines = (_HERE / "documented.txt").read_text().splitlines()
    for line in lines:
        if not line.startswith("#"):
            module, _, names = line.partition(":")
            yield from ((module, name) for name in names.split())


def _signature(of: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(of)
    except (TypeError, ValueError):
        return None


def _places(signature: inspect.Signature) -> list[str]:
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in by_place and name not in {"self", "cls"}
    ]


def _differences(theirs: inspect.Signature, ours: inspect.Signature) -> Iterator[str]:
    kinds = {parameter.kind for parameter in ours.parameters.values()}
    takes_any = inspect.Parameter.VAR_KEYWORD in kinds
    takes_more = inspect.Parameter.VAR_POSITIONAL in kinds
    there, here = _places(theirs), _places(ours)
    for place, name in enumerate(there):
        if here[place : place + 1] == [name]:
            was, now = theirs.parameters[name].default, ours.parameters[name].default
            if now is inspect.Parameter.empty and was is not now:
                yield f"{name} is required"
            elif isinstance(was, _SIMPLE) and isinstance(now, _SIMPLE) and was != now:
                yield f"{name}={now!r} instead of {was!r}"
        elif not takes_more and not (place >= len(here) and takes_any):
            yield f"{name} is called otherwise"
    for name, parameter in theirs.parameters.items():
        is_known = takes_any or name in ours.parameters
        if parameter.kind is parameter.KEYWORD_ONLY and not is_known:
            yield f"no {name}"


def _compare(path: str, theirs: Any, ours: Any) -> Iterator[str]:
    if not callable(theirs) or not callable(ours):
        return
    there, here = _signature(theirs), _signature(ours)
    if there is not None and here is not None:
        yield from (f"{path}: {difference}" for difference in _differences(there, here))


def _has(example: Any, name: str) -> bool:
    # Without asking: properties may wait for servers.
    return inspect.getattr_static(example, name, _has) is not _has


def _members(path: str, theirs: type[Any], ours: type[Any], examples: dict[str, Any]) -> Any:
    for kind in theirs.__mro__[:-1]:
        for name, member in sorted(vars(kind).items()):
            if name.startswith("_") or kind.__module__ == "builtins":
                continue
            if not hasattr(ours, name) and not _has(examples.get(path, ours), name):
                yield f"{path}.{name}: absent"
            elif inspect.isfunction(member) and inspect.isfunction(getattr(ours, name, None)):
                yield from _compare(f"{path}.{name}", member, getattr(ours, name))


def _walk() -> Iterator[str]:
    with (
        warnings.catch_warnings(),
        Umbel("walked", broker="memory://walked", set_as_current=False) as app,
    ):
        warnings.simplefilter("ignore")
        connection = app.connection()
        examples = {
            "celery.Celery": app,
            "celery.result.AsyncResult": app.AsyncResult("id"),
            "celery.result.EagerResult": app.AsyncResult("id"),
            "celery.result.GroupResult": app.GroupResult("id", []),
            "celery.result.ResultSet": app.ResultSet([]),
            "celery.app.control.Inspect": app.control.inspect(),
            "kombu.Connection": connection,
            "kombu.Consumer": connection.Consumer([]),
            "kombu.Producer": connection.Producer(),
        }
        for module, name in _documented():
            path = f"{module}.{name}"
            try:
                theirs = getattr(importlib.import_module(module), name)
                ours = look_up(module, name)
            except (Missing, ImportError, AttributeError):
                continue
            yield from _compare(path, theirs, ours)
            if path in _MEMBERS:
                yield from _members(path, theirs, ours, examples)


@pytest.mark.skipif(celery.__version__ != "5.7.0", reason="the list is about Celery 5.7.0")
def test_what_is_documented_takes_what_it_takes_in_celery_or_is_on_the_list() -> None:
    found = sorted(set(_walk()))
    lines = (_HERE / "differs.txt").read_text().splitlines()
    listed = [line for line in lines if not line.startswith("#")]

    assert sorted(set(found) - set(listed)) == [], "differs: make it alike, or list it"
    assert sorted(set(listed) - set(found)) == [], "alike by now: take it off differs.txt"
