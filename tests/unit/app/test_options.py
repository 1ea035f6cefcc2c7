"""What a task's options are: its own where it has any, else the settings, as they are now."""

from __future__ import annotations

from typing import Any

import pytest

from umbel import Task
from umbel.exceptions import InvalidSetting

from .conftest import MakeApp, Shop

FROM_SETTINGS = [
    ("task_serializer", "serializer", "json", "pickle"),
    ("task_compression", "compression", None, "gzip"),
    ("task_ignore_result", "ignore_result", False, True),
    ("task_store_errors_even_if_ignored", "store_errors_even_if_ignored", False, True),
    ("task_store_eager_result", "store_eager_result", False, True),
    ("task_track_started", "track_started", False, True),
    ("task_acks_late", "acks_late", False, True),
    ("task_acks_on_failure", "acks_on_failure", True, False),
    ("task_acks_on_timeout", "acks_on_timeout", True, False),
    ("task_reject_on_worker_lost", "reject_on_worker_lost", False, True),
    ("task_default_priority", "priority", None, 3),
]


@pytest.mark.parametrize(("setting", "option", "default", "other"), FROM_SETTINGS)
def test_an_option_is_the_setting_unless_the_task_says_otherwise(
    app: Shop, setting: str, option: str, default: Any, other: Any
) -> None:
    follows = app.task(name="follows")(lambda: None)
    own = app.task(name="own", **{option: default})(lambda: None)

    assert getattr(follows.options, option) == default
    app.conf[setting] = other

    assert getattr(follows.options, option) == other
    assert getattr(follows, option) == other
    if default is not None:
        assert getattr(own.options, option) == default
        assert getattr(own, option) == default


@pytest.mark.parametrize("both", [True, False])
def test_acks_on_failure_or_timeout_speaks_for_both(app: Shop, both: bool) -> None:
    app.conf.task_acks_on_failure_or_timeout = both
    options = app.task(name="one")(lambda: None).options
    assert (options.acks_on_failure, options.acks_on_timeout) == (both, both)

    mixed = app.task(name="two", acks_on_failure_or_timeout=both, acks_on_timeout=not both)
    options = mixed(lambda: None).options
    assert (options.acks_on_failure, options.acks_on_timeout) == (both, not both)


def test_an_attribute_set_at_run_time_is_seen(app: Shop) -> None:
    task = app.task(name="one")(lambda: None)
    assert task.options.max_retries == 3
    task.max_retries = 8
    task.queue = "slow"
    task.delay()

    assert task.options.max_retries == 8
    assert app.letter.message.routing_key == "slow"


def test_a_setting_changed_between_two_calls_is_seen_by_the_second(app: Shop) -> None:
    task = app.task(name="one")(lambda: None)
    task.delay()
    app.conf.task_default_queue = "other"
    app.conf.update(task_serializer="yaml", task_default_priority=4)
    task.delay()
    app.send_task("elsewhere")

    first, second, third = app.letters
    assert first.message.routing_key == "celery"
    assert first.message.content_type == "application/json"
    assert second.message.routing_key == third.message.routing_key == "other"
    assert second.message.content_type == third.message.content_type == "application/x-yaml"
    assert second.message.priority == 4


def test_a_base_class_sets_options_for_its_tasks(app: Shop) -> None:
    class Patient(Task[..., Any]):
        autoretry_for = (OSError,)
        retry_backoff = True
        acks_late = True
        max_retries = None

    task = app.task(base=Patient, name="one", max_retries=2)(lambda: None)

    assert task.options.autoretry_for == (OSError,)
    assert task.options.retry_backoff is True
    assert task.options.acks_late is True
    assert task.options.max_retries == 2
    assert app.task(base=Patient, name="two")(lambda: None).options.max_retries is None


def test_one_exception_may_stand_by_itself(app: Shop) -> None:
    options = app.task(
        name="one", autoretry_for=OSError, throws=[KeyError], dont_autoretry_for=(IOError,)
    )(lambda: None).options

    assert options.autoretry_for == (OSError,)
    assert options.throws == (KeyError,)
    assert options.dont_autoretry_for == (IOError,)


def test_strict_typing_off_lets_any_arguments_pass(make_app: MakeApp) -> None:
    lax = make_app(strict_typing=False)
    task = lax.task(name="one")(lambda x: x)
    task.delay()
    task.delay(1, 2, three=3)
    strict = lax.task(name="two", typing=True)(lambda x: x)
    with pytest.raises(TypeError):
        strict.delay()

    assert len(lax.sent) == 2


def test_a_class_based_task_of_a_lax_app_is_lax(make_app: MakeApp) -> None:
    class One(Task[..., Any]):
        name = "one"

        def run(self, x: int) -> None: ...

    app = make_app(strict_typing=False)
    app.register_task(One()).delay()

    assert len(app.sent) == 1


def test_typing_off_lets_any_arguments_pass(app: Shop) -> None:
    app.task(name="one", typing=False)(lambda x: x).delay()
    assert app.letter.body.args == []


def test_a_wrong_setting_is_refused_where_it_is_set(app: Shop) -> None:
    with pytest.raises(InvalidSetting, match="task_acks_late"):
        app.conf.task_acks_late = "soon"
