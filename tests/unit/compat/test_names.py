"""Every name that Celery documents is found here, or is on the list of those that are missing."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import umbel
from umbel.compat.alias import Missing, look_up
from umbel.compat.names import HOMES, NAMES

_HERE = Path(__file__).parent


def _names(file: str) -> Iterator[tuple[str, str]]:
    for line in (_HERE / file).read_text().splitlines():
        if not line.startswith("#"):
            module, _, names = line.partition(":")
            yield from ((module, name) for name in names.split())


def _is_there(module: str, name: str) -> bool:
    try:
        look_up(module, name)
    except Missing:
        return False
    return True


def test_what_is_missing_of_the_documented_names_is_exactly_what_the_list_says() -> None:
    absent = {pair for pair in _names("documented.txt") if not _is_there(*pair)}
    listed = set(_names("missing.txt"))

    assert absent - listed == set(), "no longer there: names must not get lost"
    assert listed - absent == set(), "there by now: take them off missing.txt"


@pytest.mark.parametrize("path", NAMES)
def test_every_row_of_the_table_leads_somewhere(path: str) -> None:
    module, _, name = path.rpartition(".")

    assert module in HOMES
    look_up(module, name)


@pytest.mark.parametrize("home", sorted({home for homes in HOMES.values() for home in homes}))
def test_every_home_says_which_of_its_names_are_public(home: str) -> None:
    module = importlib.import_module(home)

    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_a_name_is_the_same_object_under_both_paths() -> None:
    assert look_up("celery", "Celery") is umbel.Celery
    assert look_up("celery.app", "shared_task") is umbel.shared_task
    assert look_up("celery.result", "AsyncResult") is umbel.AsyncResult
    assert look_up("kombu.common", "Broadcast") is umbel.Broadcast


def test_a_missing_name_is_called_missing_and_by_its_path() -> None:
    with pytest.raises(Missing, match=r"has no celery\.result\.Nothing"):
        look_up("celery.result", "Nothing")
