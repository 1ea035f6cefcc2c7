"""What settings are, what they may be, and where they come from."""

from __future__ import annotations

import threading
import warnings
from datetime import timedelta
from typing import Any

import pytest

from umbel.app.configuring.settings import Settings
from umbel.exceptions import (
    ImproperlyConfigured,
    InvalidSetting,
    UmbelWarning,
    UnknownSetting,
    UnsupportedSetting,
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in ("CELERY_", "UMBEL_"):
        for name in ("BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND"):
            monkeypatch.delenv(prefix + name, raising=False)


def test_a_setting_that_nobody_set_has_its_default() -> None:
    conf = Settings()

    assert conf.task_serializer == "json"
    assert conf["task_default_queue"] == "celery"
    assert conf.result_expires == timedelta(days=1)
    assert conf.origin("task_serializer") == "default"


def test_the_configuration_is_read_when_a_setting_is_first_needed() -> None:
    reads: list[str] = []

    def source() -> dict[str, object]:
        reads.append("now")
        return {"task_acks_late": True}

    conf = Settings(source=source)
    conf.task_track_started = True
    assert reads == []

    assert conf.task_acks_late is True
    assert conf.task_track_started is True
    assert reads == ["now"]


def test_code_wins_over_the_configuration_and_that_over_other_defaults() -> None:
    conf = Settings(
        {"task_default_queue": "code"},
        lambda: {"task_default_queue": "file", "task_serializer": "yaml"},
    )

    conf.add_defaults({"task_default_queue": "more", "task_serializer": "msgpack"})
    conf.add_defaults({"task_default_priority": 3})

    assert conf.task_default_queue == "code"
    assert conf.task_serializer == "yaml"
    assert conf.task_default_priority == 3
    assert conf.origin("task_default_queue") == "set in code"
    assert conf.origin("task_default_priority") == "set by add_defaults"
    assert conf.changes == {"task_default_queue": "code"}


def test_the_environment_wins_over_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://from-celery")
    monkeypatch.setenv("UMBEL_RESULT_BACKEND", "redis://from-umbel")

    conf = Settings({"broker_url": "redis://code"}, lambda: {"result_backend": "redis://file"})

    assert conf.broker_url == "redis://from-celery"
    assert conf.result_backend == "redis://from-umbel"
    assert "CELERY_BROKER_URL" in conf.origin("broker_url")


def test_settings_fall_back_to_the_one_they_refine() -> None:
    conf = Settings({"broker_url": "redis://a", "task_default_queue": "mail"})

    assert conf.broker_read_url == conf.broker_write_url == "redis://a"
    assert conf.task_default_exchange == conf.task_default_routing_key == "mail"

    conf.update(broker_write_url="redis://b", task_default_queue="post")

    assert conf.broker_read_url == "redis://a"
    assert conf.broker_write_url == "redis://b"
    assert conf.task_default_exchange == "post"


def test_an_unknown_setting_is_an_error_with_a_guess() -> None:
    conf = Settings()

    with pytest.raises(UnknownSetting, match=r"'task_ack_late' .* Did you mean 'task_acks_late'"):
        conf.update(task_ack_late=True)
    with pytest.raises(UnknownSetting, match="nonsense"):
        conf["nonsense"]
    with pytest.raises(AttributeError, match="Did you mean 'task_serializer'"):
        _ = conf.task_serialiser
    with pytest.raises(UnknownSetting):
        Settings({"broker": "redis://"})
    assert "nonsense" not in conf
    assert conf.get("nonsense", 3) == 3
    assert not hasattr(conf, "nonsense")


def test_one_refused_setting_refuses_the_whole_update() -> None:
    conf = Settings()

    with pytest.raises(InvalidSetting):
        conf.update(task_acks_late=True, task_protocol=7)

    assert conf.task_acks_late is False
    assert conf.changes == {}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("task_acks_late", "yes", "must be True or False, not 'yes' (str)"),
        ("worker_prefetch_multiplier", "4", "must be an integer, not '4' (str)"),
        ("worker_prefetch_multiplier", 2.5, "must be an integer"),
        ("worker_prefetch_multiplier", True, "must be an integer"),
        ("worker_prefetch_multiplier", -1, "must be at least 0"),
        ("task_serializer", None, "must be a string, not None"),
        ("task_protocol", 3, "must be 1 or 2, not 3"),
        ("beat_schedule", [1], "must be a dict, not [1] (list)"),
        ("broker_url", 7, "must be a URL or a list of them or None"),
        ("broker_url", ["redis://", 7], "must be a URL or a list of them or None"),
        ("result_expires", timedelta(days=-1), "must be at least 0"),
        ("worker_lease", 0, "must be at least 0.001"),
    ],
)
def test_a_wrong_value_is_an_error_that_says_what_was_expected(
    name: str, value: Any, said: str
) -> None:
    with pytest.raises(InvalidSetting) as caught:
        Settings({name: value})

    assert str(caught.value).startswith(f"{name} {said}")
    assert "set in code" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("task_acks_late", 1, True),
        ("broker_connection_timeout", 7, 7),
        ("worker_prefetch_multiplier", 2.0, 2),
        ("imports", "proj.a, proj.b", ["proj.a", "proj.b"]),
        ("imports", ("proj.a",), ("proj.a",)),
        ("accept_content", {"json"}, ["json"]),
        ("result_expires", 60, 60),
        ("result_expires", None, None),
        ("result_expires", timedelta(hours=1), timedelta(hours=1)),
        ("broker_url", ["redis://a", "redis://b"], "redis://a;redis://b"),
        ("worker_concurrency", "auto", "auto"),
    ],
)
def test_values_that_mean_the_same_are_understood(name: str, value: Any, kept: Any) -> None:
    assert Settings({name: value})[name] == kept


def test_errors_do_not_show_secrets() -> None:
    with pytest.raises(InvalidSetting) as caught:
        Settings({"security_digest": 3, "s3_secret_access_key": ["hush"]})
    assert "hush" not in str(caught.value)

    with pytest.raises(InvalidSetting) as caught:
        Settings({"broker_url": {"redis://joe:hush@host": 1}})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("worker_direct", True, "queues of single workers"),
        ("broker_host", "localhost", "set broker_url"),
    ],
)
def test_a_setting_whose_absence_would_change_what_becomes_of_tasks_is_refused(
    name: str, value: Any, said: str
) -> None:
    with pytest.raises(UnsupportedSetting, match=f"'{name}' is set in code, but .*{said}"):
        Settings({name: value})


def test_a_setting_that_is_harmless_to_do_without_is_named_in_one_warning() -> None:
    with pytest.warns(UmbelWarning) as caught:
        Settings({"worker_lost_wait": 3, "worker_timer_precision": 2, "broker_pool_limit": 1})

    [warning] = caught
    for name in ("worker_lost_wait", "worker_timer_precision", "broker_pool_limit"):
        assert name in str(warning.message)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("worker_direct", False),
        ("beat_schedule", {}),
        ("broker_use_ssl", None),
    ],
)
def test_what_is_missing_may_be_switched_off_silently(name: str, value: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conf = Settings({name: value})

    assert conf[name] == value


def test_old_names_mean_the_same_settings() -> None:
    conf = Settings()

    conf.CELERY_ALWAYS_EAGER = True
    conf["CELERY_DEFAULT_QUEUE"] = "mail"

    assert conf.task_always_eager is True
    assert conf.CELERY_ALWAYS_EAGER is True
    assert "CELERY_DEFAULT_QUEUE" in conf
    assert conf.task_default_queue == "mail"


def test_what_was_set_in_code_can_be_taken_back() -> None:
    conf = Settings(source=lambda: {"task_default_queue": "file"})
    conf.task_default_queue = "code"
    assert conf.task_default_queue == "code"

    del conf.task_default_queue

    assert conf.task_default_queue == "file"
    assert not conf.changes


def test_every_change_gives_another_version() -> None:
    conf = Settings()
    versions = [conf.version]
    conf.load()
    versions.append(conf.version)
    conf.task_acks_late = True
    versions.append(conf.version)
    conf.reload()
    versions.append(conf.version)

    assert len({id(version) for version in versions}) == 4
    assert conf.version is conf.version


def test_a_reload_reads_the_configuration_again() -> None:
    values = iter(["one", "two"])
    conf = Settings(source=lambda: {"task_default_queue": next(values)})
    assert conf.task_default_queue == "one"

    conf.reload()

    assert conf.task_default_queue == "two"


def test_a_configuration_that_asks_for_settings_while_it_is_read_gets_the_defaults() -> None:
    def source() -> dict[str, object]:
        assert conf.task_default_queue == "celery"
        assert conf.task_serializer == "yaml"
        conf.task_protocol = 1
        return {"task_default_queue": "mail"}

    conf = Settings({"task_serializer": "yaml"}, source)

    assert conf.task_default_queue == "mail"
    assert conf.task_protocol == 1


def test_a_configuration_that_fails_is_tried_again() -> None:
    answers: list[dict[str, object] | Exception] = [
        {"task_acks_late": True},
        ImproperlyConfigured("not yet"),
    ]

    def source() -> dict[str, object]:
        answer = answers.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    conf = Settings(source=source)
    with pytest.raises(ImproperlyConfigured, match="not yet"):
        _ = conf.task_acks_late

    assert conf.task_acks_late is True


def test_many_threads_read_the_configuration_once() -> None:
    reads: list[int] = []
    start = threading.Barrier(8)

    def source() -> dict[str, object]:
        reads.append(1)
        return {"task_default_queue": "mail"}

    conf = Settings(source=source)
    seen: list[str] = []

    def read() -> None:
        start.wait()
        seen.append(conf.task_default_queue)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == ["mail"] * 8
    assert reads == [1]


def test_changing_a_collection_in_place_changes_no_default() -> None:
    one, other = Settings(), Settings()

    one.task_publish_retry_policy["max_retries"] = 9

    assert one.task_publish_retry_policy["max_retries"] == 9
    assert other.task_publish_retry_policy["max_retries"] == 3
    assert list(one.without_defaults()) == ["task_publish_retry_policy"]


def test_it_is_a_mapping_of_every_setting() -> None:
    conf = Settings({"task_acks_late": True})

    assert dict(conf) == dict(conf.items()) == conf.with_defaults()
    assert len(conf) == len(list(conf.keys())) == len(list(conf.values()))
    assert conf.setdefault("task_acks_late", False) is True


def test_settings_are_found_by_parts_of_their_names() -> None:
    conf = Settings({"task_acks_late": True})

    assert conf.get_by_parts("task", "acks", "late") is True
    assert conf.find_value_for_key("acks_late", "task") is True
    assert conf.find_option("acks_late").setting.name == "task_acks_late"
    assert conf.find_option("broker_url").setting.name == "broker_url"
    assert conf.value_set_for("task_acks_late")
    assert not conf.value_set_for("task_protocol")
    with pytest.raises(UnknownSetting):
        conf.find_option("no_such", "task")


def test_reading_a_setting_is_a_plain_attribute_read() -> None:
    conf = Settings()
    conf.load()

    assert vars(conf)["task_acks_late"] is False
