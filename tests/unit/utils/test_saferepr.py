"""``saferepr`` shows what Celery's shows, and never raises."""

from __future__ import annotations

from datetime import datetime

import pytest
from celery.utils.saferepr import saferepr as celery_saferepr
from hypothesis import example, given
from hypothesis import strategies as st

from umbel.utils.saferepr import saferepr

VALUES = [
    (2,),
    (),
    {"y": 3},
    [],
    {},
    set(),
    frozenset(),
    {1, 2},
    frozenset([1]),
    ("ab", "c"),
    b"x",
    (1.5, 2**80, True, None),
    [[[1]]],
    [[[[1]]]],
    [[[()]]],
    {"a": {"b": {"c": {"d": 1}}}},
    {"a": (1,)},
    {(1, 2): [3]},
    (1, [2, [3, [4, [5]]]]),
    (datetime(2026, 1, 1),),
    [{"a": [1, 2, 3]}, "z"],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_it_shows_what_celerys_shows(value: object) -> None:
    assert saferepr(value) == celery_saferepr(value, 1024)


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no")


class BrokenList(list[object]):
    def __repr__(self) -> str:
        raise ValueError("no")

    def __iter__(self) -> object:  # type: ignore[override]
        raise ValueError("no")

    def __len__(self) -> int:
        raise ValueError("no")


def test_it_never_raises() -> None:
    cycle: list[object] = [1]
    cycle.append(cycle)

    assert "Unrepresentable" in saferepr([Broken()])
    assert "Unrepresentable" in saferepr(BrokenList([1]))
    assert "Recursion on list" in saferepr(cycle)
    assert "Unrepresentable" in saferepr((10**5000,))


@pytest.mark.parametrize(
    "value",
    [
        "x" * 5000,
        ("x" * 5000, 1),
        [1] * 5000,
        {"k": "v" * 5000},
        [b"x" * 5000],
        ([[["a" * 900] * 9]],),
    ],
    ids=lambda value: type(value).__name__,
)
def test_long_values_are_cut_and_stay_balanced(value: object) -> None:
    text = saferepr(value)

    assert len(text) < 1024 + 20
    assert "..." in text
    assert text[-1] in "'])}"


anything = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.dictionaries(st.text(), inner)
        | st.frozensets(st.integers())
    ),
    max_leaves=30,
)


@example({"0" + "\U0001342f" * 5: None}, 7, 1)
@given(anything, st.integers(1, 100), st.integers(1, 4))
def test_it_is_bounded(value: object, maxlen: int, maxlevels: int) -> None:
    assert len(saferepr(value, maxlen, maxlevels)) <= maxlen * 2 + 40


@given(anything)
def test_what_fits_is_the_whole_repr(value: object) -> None:
    assert saferepr(value, None, 1000) == repr(value)
