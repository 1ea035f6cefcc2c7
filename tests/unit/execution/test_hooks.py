"""Signals, handlers and log lines around a run: which, in which order, with what."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import celery
import celery.app.trace
import celery.exceptions
import celery.signals
import pytest

import umbel.exceptions
import umbel.signals
from umbel.model import Failed, Succeeded

SIGNALS = ("prerun", "postrun", "success", "failure", "retry", "internal_error")
HANDLERS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")


class Ear(logging.Handler):
    """Notes everything that is told, by anyone, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().partition(" in ")[0]
        data = sorted(record.__dict__["data"])
        self.heard.append(f"{record.levelname} {text} {bool(record.exc_info)} {data}")

    def on_signal(self, signal: Any, **named: Any) -> None:
        del named["sender"]
        self.heard.append(f"{signal.name} {sorted(named)} {named.get('state')}")

    def handler(self, name: str) -> Any:
        def handle(task: Any, *args: Any) -> None:
            kinds = [type(arg).__name__ for arg in args[:-1]] if name == "after_return" else []
            self.heard.append(f"{name} {len(args)} {kinds}")

        return handle


def fate(task: Any, fate: str, module: Any) -> int:
    if fate == "fail":
        raise ValueError("x")
    if fate == "expected":
        raise KeyError("x")
    if fate == "ignore":
        raise module.Ignore
    if fate == "reject":
        raise module.Reject("no", requeue=True)
    if fate == "retry":
        raise task.retry(exc=ValueError("y"), countdown=3)
    return 4


@pytest.fixture
def ours(bench: Any) -> Iterator[Any]:
    ear = Ear()
    logger = logging.getLogger("umbel.app.trace")
    logger.addHandler(ear)
    logger.setLevel(logging.INFO)
    signals = [getattr(umbel.signals, f"task_{name}") for name in SIGNALS]
    for signal in signals:
        signal.connect(ear.on_signal)

    def play(what: str) -> list[str]:
        job = bench.task(
            lambda self, which: fate(self, which, umbel.exceptions), throws=(KeyError,)
        )
        for name in HANDLERS:
            handler = ear.handler(name)
            setattr(job, name, lambda *args, handler=handler: handler(None, *args))
        bench.run(what)
        return ear.heard

    yield play
    for signal in signals:
        signal.disconnect(ear.on_signal)
    logger.removeHandler(ear)
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def celerys() -> Iterator[Any]:
    ear = Ear()
    logger = celery.app.trace.logger
    logger.addHandler(ear)
    logger.setLevel(logging.INFO)
    signals = [getattr(celery.signals, f"task_{name}") for name in SIGNALS]
    for signal in signals:
        signal.connect(ear.on_signal, weak=False)
    app = celery.Celery(
        "tasks", broker="memory://", backend="cache+memory://", set_as_current=False
    )
    base = type("Base", (celery.Task,), {name: ear.handler(name) for name in HANDLERS})

    def play(what: str) -> list[str]:
        def it(self: Any, which: str) -> int:
            return fate(self, which, celery.exceptions)

        task = app.task(
            it,
            name="tasks.it",
            shared=False,
            bind=True,
            base=base,
            throws=(KeyError,),
        )
        app.finalize()
        trace = celery.app.trace.build_tracer("tasks.it", app.tasks["tasks.it"], app=app)
        way = {"exchange": "", "routing_key": "celery"}
        request = {"id": "id-1", "called_directly": False, "delivery_info": way, "retries": 0}
        trace("id-1", [what], {}, {**request, "args": [what], "kwargs": {}})
        assert task.name == "tasks.it"
        return ear.heard

    yield play
    for signal in signals:
        signal.disconnect(ear.on_signal)
    logger.removeHandler(ear)
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("what", ["ok", "fail", "expected", "ignore", "reject", "retry"])
def test_the_same_is_told_in_the_same_order_as_by_celery(
    ours: Any, celerys: Any, what: str
) -> None:
    assert ours(what) == celerys(what)


def test_a_handler_that_raises_changes_nothing_but_is_reported(bench: Any, caplog: Any) -> None:
    def trouble(*_: object) -> None:
        raise RuntimeError("handler")

    job = bench.task(lambda self: 1)
    job.on_success = job.after_return = trouble
    heard: list[Any] = []

    @umbel.signals.task_internal_error.connect
    def hear(exception: BaseException, **_: Any) -> None:
        heard.append(exception)

    outcome = bench.run()

    assert type(outcome) is Succeeded
    assert [str(error) for error in heard] == ["handler", "handler"]
    assert [record.levelname for record in caplog.records] == ["CRITICAL", "CRITICAL"]
    assert caplog.records[0].getMessage() == (
        "Task tasks.it[id-1] INTERNAL ERROR: RuntimeError('handler')"
    )


def test_before_start_that_raises_fails_the_task(bench: Any) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("not today")

    bench.task(lambda self: 1).before_start = refuse

    assert type(bench.run()) is Failed


def test_handlers_get_what_the_task_was_called_with(bench: Any) -> None:
    job = bench.task(lambda self, x, y=0: x + y, listening=True)

    bench.run(1, kwargs={"y": 2})

    assert job.told == [
        ("before_start", "id-1", [1], {"y": 2}),
        ("on_success", 3, "id-1", [1], {"y": 2}),
        ("after_return", "SUCCESS", 3, "id-1", [1], {"y": 2}, None),
    ]


def test_what_handlers_get_of_an_exception_prints_as_its_traceback(bench: Any) -> None:
    def fail(self: Any) -> None:
        raise ValueError("x")

    job = bench.task(fail, listening=True)

    bench.run()

    _, failed, returned = job.told
    info = failed[-1]
    assert info is returned[-1]
    assert str(info).endswith("ValueError: x\n")
    assert (info.type, str(info.exception)) == (ValueError, "x")
    assert repr(info) == "<ExceptionInfo: ValueError('x')>"


def test_the_loader_is_told_before_and_after(bench: Any) -> None:
    told: list[object] = []
    bench.task(lambda self: told.append("run"))
    runner = bench.with_tools(
        task_init=lambda task_id, task: told.append((task_id, task.name)),
        process_cleanup=lambda: told.append("clean"),
    )

    runner.run(bench.request())

    assert told == [("id-1", "tasks.it"), "run", "clean"]
