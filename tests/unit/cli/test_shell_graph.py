"""``umbel shell`` and ``umbel graph``."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from umbel import chain

Run = Callable[..., tuple[int, str, str]]


def test_the_shell_knows_the_app_its_tasks_and_the_canvas(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "print(celery is app, add(2, 2), (add.s(1, 2) | add.s(3)), xmap, Task)\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))

    code, out, err = run("shell", "--python")

    assert code == 0
    assert "True 4 shop.add(1, 2) | shop.add(3)" in out
    assert "app 'shop'. Tasks: add." in err


def test_the_shell_leaves_tasks_out_if_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("print('add' in dir(), 'app' in dir())\n"))

    _, out, _ = run("shell", "--python", "-T")

    assert "False True" in out


@pytest.mark.parametrize(("flag", "module"), [("-I", "IPython"), ("-B", "bpython")])
def test_ipython_and_bpython_get_the_same_names(
    run: Run, monkeypatch: pytest.MonkeyPatch, flag: str, module: str
) -> None:
    got: dict[str, Any] = {}
    library: Any = ModuleType(module)
    library.start_ipython = lambda *, argv, user_ns: got.update(user_ns)
    library.embed = lambda names, *, banner: got.update(names)
    monkeypatch.setitem(__import__("sys").modules, module, library)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == module or None)

    assert run("shell", flag)[0] == 0

    assert got["app"] is got["celery"]
    assert got["chain"] is chain
    assert got["add"].name == "shop.add"


def test_a_shell_that_is_not_installed_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    code, _, err = run("shell", "-B")

    assert code == 2
    assert "pip install bpython" in err


def test_a_fleet_is_drawn_without_asking_if_it_is_named(run: Run) -> None:
    code, out, _ = run(
        "graph", "workers", "nodes:a@h,b@h", "threads:2,9", "broker:redis://:secret@far/1"
    )

    assert code == 0
    assert out.startswith('digraph "dependencies" {')
    assert out.rstrip().endswith("}")
    assert '"a@h" -> "broker: redis://' in out
    assert '"a@h/1" -> "a@h"' in out
    assert '"b@h/P⎨…₇⎬"' in out
    assert "secret" not in out


def test_many_workers_are_drawn_as_few(run: Run) -> None:
    names = ",".join(f"w{number}@h" for number in range(9))

    _, out, _ = run("graph", "workers", f"nodes:{names}", "wmax:3", "generic")

    assert '"W⎨…₇⎬"' in out
    assert '"w8@h" -> "Broker (memory://)"' in out
    assert "w5@h" not in out


def test_a_word_that_says_nothing_is_refused(run: Run) -> None:
    assert run("graph", "workers", "colour:red")[0] == 2


def test_the_parts_of_a_worker_are_drawn_from_what_they_take(run: Run) -> None:
    _, both, _ = run("graph", "bootsteps")
    _, consumer, _ = run("graph", "bootsteps", "consumer")
    _, worker, _ = run("graph", "bootsteps", "worker")

    assert '"Intake" -> "Credit"' in both
    assert '"Intake" -> "Credit"' in consumer
    assert '"Intake" [' not in worker
    assert len(consumer) < len(both)
