"""Result backends made for Celery, against the contract of result backends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from umbel import Umbel
from umbel.app.backends import KeyValueStoreBackend
from umbel.clock import ManualClock
from umbel.drivers.legacy.backend import LegacyBackend
from umbel.drivers.memory.backend import MemoryBackend
from umbel.drivers.memory.store import MemoryStore
from umbel.exceptions import BackendUnavailable
from umbel.model import Expected
from umbel.protocols import ResultBackend
from umbel.result.base import result_from_tuple
from umbel.testing.conformance.backend import BackendContract, MakeBackend, record
from umbel.testing.conformance.clocks import WaitingClock
from umbel.testing.conformance.opening import opening

Shelf = dict[Any, tuple[Any, float]]


class Shelved(KeyValueStoreBackend):
    """Keeps results in a dict, as long as the settings say."""

    def __init__(self, *args: Any, shelf: Shelf, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shelf = shelf

    def get(self, key: Any) -> Any:
        value, expires = self.shelf.get(key, (None, 0.0))
        return value if expires > time.monotonic() else None

    def set(self, key: Any, value: Any) -> None:
        self.shelf[key] = value, time.monotonic() + self.expires

    def delete(self, key: Any) -> None:
        self.shelf.pop(key, None)

    def cleanup(self) -> None:
        now = time.monotonic()
        for key in [key for key, (_, expires) in self.shelf.items() if expires <= now]:
            del self.shelf[key]


class Refusing(Shelved):
    """Cannot keep what is said of one task, and cannot be reached for another one."""

    def _store_result(self, task_id: str, result: Any, *rest: Any, **kwargs: Any) -> Any:
        if task_id == "poison" and result == "bad":
            raise ValueError("not this")
        if task_id == "away":
            raise OSError("nobody is there")
        return super()._store_result(task_id, result, *rest, **kwargs)


@pytest.fixture
def shelf() -> Shelf:
    return {}


@pytest.fixture
def kind() -> type[Shelved]:
    return Shelved


@pytest.fixture
def app(shelf: Shelf) -> Iterator[Umbel]:
    with Umbel("legacy", broker="memory://", set_as_current=False, result_expires=100) as app:
        yield app


@pytest.fixture
async def make_backend(
    app: Umbel, kind: type[Shelved], shelf: Shelf, clock: WaitingClock
) -> AsyncIterator[MakeBackend]:
    store = MemoryStore()

    def make() -> LegacyBackend:
        return LegacyBackend(
            lambda: kind(app, shelf=shelf),
            revive=lambda found: result_from_tuple(found, app),
            counting=MemoryBackend(store, clock=ManualClock()),
            clock=clock,
        )

    async with opening(make) as make_backend:
        yield make_backend


class TestLegacy(BackendContract):
    """Records do not say how long they are kept: the backend's own setting does."""

    @pytest.fixture
    def clock(self) -> WaitingClock:  # type: ignore[override]
        return WaitingClock()

    async def test_what_has_expired_is_gone(  # type: ignore[override]
        self, backend: ResultBackend, app: Umbel, make_backend: MakeBackend
    ) -> None:
        await backend.store([record("long")])
        app.conf.result_expires = 0.05
        brief = await make_backend()
        await brief.store([record("brief")])

        await asyncio.sleep(0.06)

        assert set(await brief.load(["brief", "long"])) == {"long"}

    async def test_prune_leaves_what_has_not_expired(  # type: ignore[override]
        self, backend: ResultBackend, app: Umbel, make_backend: MakeBackend, shelf: Shelf
    ) -> None:
        await backend.store([record("long")])
        app.conf.result_expires = 0.05
        brief = await make_backend()
        await brief.store([record("brief")])
        await asyncio.sleep(0.06)

        await brief.prune(before=0.0, limit=100)

        assert set(shelf) == {b"celery-task-meta-long"}

    async def test_groups_are_kept_as_they_are(  # type: ignore[override]
        self, backend: ResultBackend, app: Umbel, make_backend: MakeBackend
    ) -> None:
        other = await make_backend()
        members = [[["b", None], None], [["a", None], None]]

        await backend.store_groups([app.codec.group("g", None, members)])

        loaded = await other.load_groups(["g", "unknown"])
        assert set(loaded) == {"g"}
        assert app.codec.read_group(loaded["g"]) == ("g", None, members)

    async def test_a_group_that_has_expired_is_gone(  # type: ignore[override]
        self, app: Umbel, make_backend: MakeBackend
    ) -> None:
        app.conf.result_expires = 0.05
        backend = await make_backend()
        await backend.store_groups([app.codec.group("brief", None, [])])

        await asyncio.sleep(0.06)

        assert await backend.load_groups(["brief"]) == {}

    async def test_a_forgotten_group_is_gone_and_the_others_stay(  # type: ignore[override]
        self, backend: ResultBackend, app: Umbel
    ) -> None:
        await backend.store_groups([app.codec.group(name, None, []) for name in "gh"])

        await backend.forget_groups(["g", "unknown"])

        assert set(await backend.load_groups(["g", "h"])) == {"h"}

    @pytest.mark.parametrize("kind", [Refusing])
    async def test_what_cannot_be_kept_of_one_task_does_not_keep_others_waiting(
        self, backend: ResultBackend, app: Umbel
    ) -> None:
        await backend.store([record("poison", result="bad"), record("fine")])

        loaded = await backend.load(["poison", "fine"])
        assert {id_: each.state for id_, each in loaded.items()} == {
            "poison": "FAILURE",
            "fine": "SUCCESS",
        }
        assert repr(app.codec.read(loaded["poison"]).result) == "ValueError('not this')"

    @pytest.mark.parametrize("kind", [Refusing])
    async def test_a_backend_that_cannot_be_reached_is_called_unavailable(
        self, backend: ResultBackend
    ) -> None:
        with pytest.raises(BackendUnavailable, match="Refusing could not be written: OSError"):
            await backend.store([record("away")])

    async def test_chords_are_refused_where_nothing_can_count_them(
        self, app: Umbel, shelf: Shelf, clock: WaitingClock
    ) -> None:
        backend = LegacyBackend(
            lambda: Shelved(app, shelf=shelf), revive=tuple, counting=None, clock=clock
        )
        with pytest.raises(NotImplementedError, match="chord_backend"):
            await backend.expect([Expected("c", 2)])
