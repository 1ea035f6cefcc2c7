"""Settings of packages for Celery, which are accepted where the alias is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from umbel.app.configuring.settings import Settings
from umbel.app.defaults import foreign
from umbel.exceptions import UnknownSetting


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(foreign, "_allowed", False)
    foreign.allow()
    yield
    monkeypatch.undo()


def test_without_the_alias_they_are_mistakes() -> None:
    with pytest.raises(UnknownSetting, match="redbeat_redis_url"):
        Settings({"redbeat_redis_url": "redis://"})


@pytest.mark.usefixtures("allowed")
def test_with_it_they_are_kept_as_they_are() -> None:
    conf = Settings({"redbeat_redis_url": "redis://"}, source=lambda: {"beat_dburi": "sqlite://"})

    assert conf.redbeat_redis_url == conf["redbeat_redis_url"] == "redis://"
    assert conf.beat_dburi == "sqlite://"
    assert {"redbeat_redis_url", "beat_dburi"} <= set(conf.keys())
    assert "redbeat_redis_url" in conf
    assert len(conf) == len(list(conf))


@pytest.mark.usefixtures("allowed")
def test_those_nobody_has_set_are_not_there() -> None:
    conf = Settings()

    assert not hasattr(conf, "redbeat_redis_url")
    assert conf.get("redbeat_redis_url", 1) == 1
    assert "redbeat_redis_url" not in conf


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize(
    "name", ["brocker_url", "task_ack_late", "timezon", "celery_magic", "CELERY_TASK_SERIALISER"]
)
def test_typing_errors_stay_errors(name: str) -> None:
    with pytest.raises(UnknownSetting, match=name):
        Settings({name: 1})


@pytest.mark.usefixtures("allowed")
def test_the_first_setting_that_has_a_value_is_found() -> None:
    conf = Settings({"redbeat_key_prefix": "r"})

    assert conf.first("REDBEAT_KEY_PREFIX", "redbeat_key_prefix") == "r"
    assert conf.first("result_backend", "worker_concurrency") == conf.result_backend
    assert conf.first("redbeat_nothing") is None
