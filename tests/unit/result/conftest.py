"""An app with results in memory, and a way to say what became of a task."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from umbel import Umbel
from umbel.model import ResultRecord


class Ended(msgspec.Struct):
    """What a result record needs to know of a call."""

    id: str
    group_id: str | None = None
    parent_id: str | None = None


class Store(Umbel):
    """An app that says what became of tasks, as a worker would."""

    def succeed(self, task_id: str, value: Any, **more: Any) -> None:
        self.keep(self.codec.succeeded(Ended(task_id), value, **more))

    def fail(self, task_id: str, error: BaseException, traceback: str = "Traceback: …") -> None:
        self.keep(self.codec.failed(Ended(task_id), error, traceback))

    def progress(self, task_id: str, state: str, meta: Any = None) -> None:
        self.keep(self.codec.state(Ended(task_id), state, meta))

    def keep(self, *records: ResultRecord) -> None:
        self.portal.call(self._store, records)

    def later(self, action: Any, *args: Any) -> threading.Thread:
        """Do it in another thread."""
        thread = threading.Thread(target=action, args=args)
        thread.start()
        return thread


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Store]:
    url = f"memory://{tmp_path}"
    with Store("shop", broker=url, backend=url, set_as_current=False) as made:
        yield made
