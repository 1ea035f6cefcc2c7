"""``kombu.asynchronous.Hub``: files and timers on an event loop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from umbel.worker.steps.hub import Hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def test_a_function_is_called_whenever_a_file_can_be_read(
    hub: Hub, pipe: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    read, write = pipe
    heard: list[Any] = []

    def on_read(name: str) -> None:
        heard.append((name, os.read(read, 1)))
        if len(heard) == 2:
            raise LookupError("of a callback")

    hub.add_reader(read, on_read, "pipe")
    for letter in (b"a", b"b", b"c"):
        os.write(write, letter)
        hub.run_once()
    hub.remove(read)
    os.write(write, b"d")
    hub.run_once()

    assert heard == [("pipe", b"a"), ("pipe", b"b"), ("pipe", b"c")]
    assert "of a callback" in caplog.text


def test_a_function_is_called_when_a_file_can_be_written(hub: Hub, pipe: tuple[int, int]) -> None:
    heard: list[int] = []
    hub.add([pipe[1]], heard.append, Hub.WRITE, (1,))
    hub.run_once()
    assert heard == [1]
    assert repr(hub) == "<Hub: R:0 W:1>"


def test_functions_are_called_soon_and_later_until_the_hub_is_stopped(hub: Hub) -> None:
    told: list[str] = []
    repeated = hub.call_repeatedly(0.001, told.append, "again")
    hub.call_soon(told.append, "soon")
    hub.call_later(0.01, lambda: (told.append("later"), hub.stop()))

    hub.run_forever()

    assert told[0] == "soon"
    assert {"later", "again"} <= set(told)
    repeated.cancel()
