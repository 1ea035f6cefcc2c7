"""Which classes may be a worker's pool."""

from __future__ import annotations

from typing import Any

import pytest

from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured
from umbel.pools.guest import GuestPool
from umbel.worker.options import resolve
from umbel.worker.pools.base import BasePool
from umbel.worker.pools.choice import make_pool


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ("os.path:Missing", r"worker_pool names 'os\.path:Missing', which cannot be imported"),
        ("nowhere.at_all:Pool", "which cannot be imported: No module named 'nowhere'"),
        (Umbel, "which is no pool: one of your own is made of"),
        ("perfork", "'perfork' is not a pool. There are prefork, threads"),
        ("custom", "'custom' is not a pool"),
    ],
)
def test_what_is_no_pool_is_refused_with_a_sentence(
    pool: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CELERY_CUSTOM_WORKER_POOL", raising=False)
    with (
        Umbel("own_pools", set_as_current=False) as app,
        pytest.raises(ImproperlyConfigured, match=said),
    ):
        make_pool(resolve({"pool": pool}, app.conf), app)


def test_a_class_in_the_settings_is_made_with_what_celery_tells_its_pools() -> None:
    with Umbel("own_pools", set_as_current=False, worker_pool=BasePool) as app:
        made = make_pool(resolve({"concurrency": 3, "time_limit": 9}, app.conf), app)
        assert isinstance(made, GuestPool)
        made.prepare()

        assert made.size == 3
        assert made.info == {
            "implementation": "umbel.worker.pools.base:BasePool",
            "max-concurrency": 3,
        }


def test_the_base_calls_what_its_subclasses_override() -> None:
    told: list[Any] = []

    class Telling(BasePool):
        def on_start(self) -> None:
            told.append("start")

        def on_apply(self, target: Any, args: Any, kwargs: Any, **options: Any) -> Any:
            told.append((args, kwargs, options["waitforslot"]))
            return target(*args, **kwargs)

        def on_close(self) -> None:
            told.append("close")

        def on_stop(self) -> None:
            told.append("stop")

    pool = Telling(2)
    assert not pool.active
    pool.start()
    assert pool.active
    assert pool.apply_async(max, (1, 2)) == 2
    pool.close()
    pool.stop()
    assert told == ["start", ((1, 2), {}, True), "close", "stop"]
    with pytest.raises(NotImplementedError, match="does not implement kill_job"):
        pool.terminate_job(1)
    with pytest.raises(NotImplementedError, match="has no on_apply"):
        BasePool(1).apply_async(max)
