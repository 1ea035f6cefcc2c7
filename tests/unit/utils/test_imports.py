"""Names of ``celery.utils.imports`` and ``celery.utils.objects``."""

from __future__ import annotations

import os.path
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from kombu.utils.imports import symbol_by_name as peer
from kombu.utils.objects import cached_property as peers_property

from umbel.utils.imports import symbol_by_name
from umbel.utils.objects import cached_property


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("os.path:join",), {}),
        (("os.path.join",), {}),
        (("os",), {}),
        (("fast",), {"aliases": {"fast": "os.path:join"}}),
        (("os.path:nothing",), {"default": 3}),
        (("no.such.module:x",), {"default": 3}),
        (("os/path",), {"sep": "/"}),
        ((os.path.join,), {}),
    ],
)
def test_what_has_a_name_is_what_kombu_finds(args: Any, kwargs: Any) -> None:
    assert symbol_by_name(*args, **kwargs) == peer(*args, **kwargs)


def test_modules_can_be_imported_otherwise() -> None:
    def imp(name: str, package: str | None = None, **more: Any) -> ModuleType:
        made = ModuleType(name)
        made.__dict__.update(more, package=package)
        return made

    assert symbol_by_name("a.b:given", imp=imp, given=1) == 1
    assert symbol_by_name("a.b:package", imp=imp, package="p") == "p"


@pytest.mark.parametrize("kind", [cached_property, peers_property])
def test_a_property_is_kept_set_and_deleted(kind: Callable[..., Any]) -> None:
    told: list[Any] = []

    class Thing:
        @kind
        def value(self) -> int:
            told.append("made")
            return 1

        @value.setter
        def value(self, value: int) -> int:
            return 2 * value

        @value.deleter
        def value(self, value: int) -> None:
            told.append(value)

    thing: Any = Thing()
    assert (thing.value, thing.value) == (1, 1)
    thing.value = 5
    assert thing.value == 10
    del thing.value
    assert thing.value == 1
    assert told == ["made", 10, "made"]
