"""Chords of either side whose members Celery's and our workers run together, on one Redis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import celery
import pytest

import umbel

SIZE = 60


class Caller:
    """A client of either side, and how chords are written there."""

    def __init__(self, side: str, app: Any) -> None:
        self.app = app
        canvas: Any = {"celery": celery, "umbel": umbel}[side]
        self.chord, self.group, self.chain = canvas.chord, canvas.group, canvas.chain

    def s(self, name: str, *args: Any) -> Any:
        return self.app.signature(f"interop.{name}", args)


@pytest.fixture(params=["celery", "umbel"])
def caller(request: pytest.FixtureRequest, make_client: Callable[[str], Any]) -> Caller:
    return Caller(request.param, make_client(request.param))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace"
    path.touch()
    return path


def lines(trace: Path) -> list[list[str]]:
    return [line.split() for line in trace.read_text().splitlines()]


@pytest.mark.slow
def test_chords_cross_both_kinds_of_workers_and_each_body_runs_once(
    caller: Caller, start: Callable[..., Any], trace: Path
) -> None:
    start("celery")
    start("umbel")
    results = []
    for number in range(4):
        header = [caller.s("record", str(trace), number * SIZE + n) for n in range(SIZE)]
        body = caller.s("gather", str(trace))
        results.append(caller.chord(header, app=caller.app)(body))

    for number, result in enumerate(results):
        expected = [number * SIZE + n for n in range(SIZE)]
        assert result.get(timeout=60) == expected
        assert result.parent.get(timeout=60) == expected

    sides = [side for side, what in lines(trace) if what != "body"]
    assert len(sides) == 4 * SIZE
    assert {"celery", "umbel"} == set(sides)
    assert len([what for _, what in lines(trace) if what == "body"]) == 4


@pytest.mark.slow
def test_a_member_that_fails_on_either_side_fails_the_body_by_name(
    caller: Caller, start: Callable[..., Any], trace: Path
) -> None:
    start("celery")
    start("umbel")
    for _ in range(4):
        header = [caller.s("record", str(trace), n) for n in range(6)]
        header.insert(3, caller.s("fail", "no"))
        result = caller.chord(header, app=caller.app)(caller.s("gather", str(trace)))

        with pytest.raises(Exception, match=r"Dependency .* raised ValueError") as caught:
            # The header has failed too, which Celery's clients may notice first.
            result.get(timeout=60, follow_parents=False)
        assert type(caught.value).__name__ == "ChordError"
        assert result.parent.results[3].id in str(caught.value)

    assert "body" not in trace.read_text()


@pytest.mark.slow
def test_nested_chords_and_groups_have_the_same_results_on_both_sides(
    caller: Caller, start: Callable[..., Any], trace: Path
) -> None:
    start("celery")
    start("umbel")
    s = caller.s
    path = str(trace)

    members = [s("record", path, 1), s("record", path, 2)]
    nested = caller.chord(members, s("gather", path), app=caller.app)
    chained = caller.chain(s("record", path, 3), s("echo"), app=caller.app)
    header = [nested, s("record", path, 4), chained]
    result = caller.chord(header, s("gather", path), app=caller.app).apply_async()

    assert result.get(timeout=60) == [[1, 2], 4, [[3], {}]]

    grouped = caller.group([s("record", path, 5), s("record", path, 6)], app=caller.app)
    result = caller.chord([grouped, s("record", path, 7)], s("gather", path), app=caller.app)()
    flat = result.get(timeout=60)
    # Celery's clients put the members of a group in a header in reverse.
    assert flat in ([5, 6, 7], [6, 5, 7])
