"""A result backend that cannot be used is noticed before anything is sent."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from umbel import Umbel, group
from umbel.exceptions import ImproperlyConfigured


def _app(backend: str, name: str) -> tuple[Umbel, Any]:
    app = Umbel(name, broker=f"memory://{name}", backend=backend, set_as_current=False)

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    return app, add


def _waiting(app: Umbel) -> int:
    return int(app.connection().default_channel.queue_declare("celery", passive=True).message_count)


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("reddis://localhost", "result_backend, set in code.*'reddis'.*Did you mean 'redis'"),
        ("localhost:6379", "result_backend, set in code.*Unknown result backend"),
        ("amqp://localhost", "result_backend, set in code.*keeps no results"),
        ("my.nowhere:Backend", "result_backend, set in code"),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda app, add: add.delay(1, 2),
        lambda app, add: add.apply_async((1, 2), countdown=1),
        lambda app, add: add.apply_many([(1, 2)]),
        lambda app, add: app.send_task("add", (1, 2)),
        lambda app, add: group(add.s(1, 2), add.s(3, 4)).delay(),
    ],
)
def test_a_call_whose_result_cannot_be_kept_is_refused(
    backend: str, said: str, call: Callable[[Umbel, Any], Any]
) -> None:
    app, add = _app(backend, "unusable")

    with app:
        for _ in range(2):
            with pytest.raises(ImproperlyConfigured, match=f"{said}.*ignore_result=True"):
                call(app, add)
        assert _waiting(app) == 0


def test_calls_without_results_need_no_backend() -> None:
    app, add = _app("reddis://localhost", "without-results")

    with app:
        add.apply_async((1, 2), ignore_result=True)
        with pytest.raises(ImproperlyConfigured):
            add.delay(1, 2)
        app.conf.result_backend = "disabled"
        add.delay(1, 2)
        assert _waiting(app) == 2


def test_a_missing_package_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("umbel.drivers.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hiredis", None)
    app, add = _app("redis://localhost", "missing")

    with app, pytest.raises(ImproperlyConfigured, match=r"pip install 'umbel\[redis\]'"):
        add.delay(1, 2)


def test_no_server_is_asked() -> None:
    # Nobody listens there.
    app, add = _app("redis://127.0.0.1:1", "unasked")

    with app:
        add.delay(1, 2)
        assert _waiting(app) == 1
