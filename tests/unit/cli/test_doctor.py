"""``umbel doctor``: each thing it finds, and what it finds where all is well."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.app.operating.doctor import Facts, look_at, look_at_fleet

Run = Callable[..., tuple[int, str, str]]

WELL: dict[str, Any] = {
    "nodes": ["w@here"],
    "consumed": ["celery"],
    "known": ["shop.add"],
    "ready": {"celery": 7},
    "tasks": {"shop.add": "celery"},
    "scheduled": {"often": "shop.add", "nightly": "celery.backend_cleanup"},
}


def abouts(findings: list[Any]) -> list[tuple[str, str]]:
    return [(each.level, each.about) for each in findings]


def test_nothing_is_found_where_all_is_well() -> None:
    assert look_at(Umbel("a", broker="redis://", set_as_current=False)) == []
    assert look_at_fleet(Facts(**WELL)) == []


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"accept_content": ["json", "pickle"]}, ("error", "pickle")),
        ({"result_accept_content": ["pickle"]}, ("error", "pickle")),
        ({"result_expires": None}, ("warning", "result-expiry")),
        ({"task_always_eager": True}, ("error", "eager")),
        ({"broker_url": "memory://"}, ("warning", "memory")),
        ({"result_backend": "reddis://"}, ("error", "result-backend")),
        (
            {"broker_transport_options": {"confirm_publish": False}},
            ("warning", "confirm-publish"),
        ),
        (
            {
                "beat_scheduler": "proj.sched:Mine",
                "beat_schedule": {"a": {"task": "t", "schedule": 5}},
            },
            ("warning", "two-schedulers"),
        ),
        (
            {
                "broker_transport_options": {"visibility_timeout": 60},
                "beat_schedule": {"a": {"task": "t", "schedule": 5, "options": {"countdown": 61}}},
            },
            ("error", "visibility-timeout"),
        ),
    ],
)
def test_what_a_configuration_does_is_found(
    settings: dict[str, Any], found: tuple[str, str]
) -> None:
    app = Umbel("a", set_as_current=False, **{"broker_url": "redis://", **settings})

    assert abouts(look_at(app)) == [found]


@pytest.mark.parametrize(("limit", "count"), [(700, 0), (300, 1)])
def test_retries_beyond_the_visibility_timeout_are_found(limit: int, count: int) -> None:
    app = Umbel(
        "a",
        broker="redis://",
        broker_transport_options={"visibility_timeout": limit},
        set_as_current=False,
    )

    @app.task(name="slow", autoretry_for=(OSError,), retry_backoff=True)
    def slow() -> None: ...

    assert abouts(look_at(app)) == [("error", "visibility-timeout")] * count


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"nodes": []}, ("error", "no-workers")),
        ({"consumed": []}, ("error", "no-consumer")),
        ({"consumed": ["other"], "ready": {}}, ("warning", "no-consumer")),
        ({"known": []}, ("warning", "unknown-task")),
        ({"scheduled": {"x": "shop.ad"}}, ("error", "unknown-task")),
        (
            {"nodes": ["w@a", "x@a", "x@b"], "beats": {"x@a": None, "x@b": "DatabaseScheduler"}},
            ("error", "two-schedulers"),
        ),
        (
            {"nodes": ["w@a", "x@a", "x@b"], "beats": {"x@a": None, "x@b": "umbel"}},
            ("error", "two-schedulers"),
        ),
        ({"rivals": ["gen1@a", "gen2@b"]}, ("error", "two-schedulers")),
        ({"nodes": ["x@a"], "beats": {"x@a": "umbel"}}, ("error", "no-workers")),
        ({"dead": 3}, ("warning", "dead-letters")),
    ],
)
def test_what_a_fleet_lacks_is_found(facts: dict[str, Any], found: tuple[str, str]) -> None:
    assert abouts(look_at_fleet(Facts(**{**WELL, **facts}))) == [found]


def test_any_number_of_umbels_schedulers_and_one_of_celerys_are_well() -> None:
    beats = {"x@a": "umbel", "x@b": "umbel", "x@c": "umbel"}
    assert look_at_fleet(Facts(**WELL, beats=beats)) == []
    assert look_at_fleet(Facts(**WELL, beats={"celerybeat@a": None})) == []


def test_it_looks_at_the_broker_and_ends_with_1(run: Run, app: Umbel) -> None:
    app.send_task("shop.add", (1, 2))

    code, out, _ = run("doctor", "-t", "0.1")

    assert code == 1
    assert "ERROR [no-workers] no worker has answered." in out
    assert out.endswith("1 error, 1 warning.\n")
    assert run("doctor", "--offline", "-q")[0] == 0


def test_a_broker_that_is_away_does_not_hide_the_rest(run: Run) -> None:
    code, out, err = run("-b", "redis://127.0.0.1:1/0", "doctor", "--json")

    assert code == 69
    assert json.loads(out) == []
    assert "127.0.0.1:1" in err


def test_an_app_of_the_real_celery_is_looked_at(run: Run, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "from celery import Celery\n"
        "app = Celery('theirs', broker='redis://nowhere/0', set_as_current=False)\n"
        "app.conf.accept_content = ['pickle']\n"
        "app.conf.worker_direct = True\n"
        "@app.task(name='theirs.slow', default_retry_delay=7200)\n"
        "def slow(): pass\n"
    )

    code, out, _ = run("-A", "theirs", "doctor", "--offline", "--json")

    assert code == 1
    assert {each["about"] for each in json.loads(out)} == {
        "pickle",
        "unsupported",
        "visibility-timeout",
    }
