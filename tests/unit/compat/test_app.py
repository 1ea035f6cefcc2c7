"""``celery.app`` under the alias: what has no lines in ``same/app.txt``."""

from __future__ import annotations

import celery.app.defaults as celerys
import pytest
from cryptography.exceptions import InvalidSignature

import umbel
from tests.unit.compat.peer import StandIn
from umbel.exceptions import ImproperlyConfigured, SecurityError

app = StandIn("celery.app")
defaults = StandIn("celery.app.defaults")
backends = StandIn("celery.app.backends")


def test_the_table_has_all_of_celerys_settings_in_the_same_groups() -> None:
    theirs = {name: group for name, group in celerys.NAMESPACES.items() if isinstance(group, dict)}
    ours = defaults.NAMESPACES

    assert {name for name in celerys.NAMESPACES if name not in ours} == set()
    for name, group in theirs.items():
        assert group.keys() - ours[name].keys() == set()
    assert dict(celerys.flatten(celerys.NAMESPACES)).keys() <= defaults.SETTING_KEYS
    assert dict(defaults.flatten(ours)).keys() == defaults.DEFAULTS.keys()


def test_a_task_is_made_to_run_and_let_go() -> None:
    made = umbel.Celery("pushed", set_as_current=False)

    @made.task
    def one() -> None: ...

    app.push_current_task(one)
    assert umbel.current_task.name == one.name
    assert app.pop_current_task().name == one.name
    assert app.pop_current_task() is None
    assert not umbel.current_task


def test_a_task_is_retried_once_it_is_told_to() -> None:
    made = umbel.Celery("retried", set_as_current=False)
    tries: list[int] = []

    @made.task
    def fail() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise KeyError(len(tries))
        return len(tries)

    StandIn("celery.app.autoretry").add_autoretry_behaviour(
        fail, autoretry_for=(KeyError,), retry_kwargs={"max_retries": 5, "countdown": 0}
    )

    assert fail.apply().get() == 3
    with pytest.raises(TypeError, match="countdown"):
        StandIn("celery.app.autoretry").add_autoretry_behaviour(fail, countdown=3)


def test_the_task_of_the_worker_is_told_from_those_it_calls() -> None:
    made = umbel.Celery("asked", set_as_current=False)
    asked = StandIn("celery._state").get_current_worker_task

    @made.task
    def inner() -> str:
        return asked().name

    @made.task
    def outer() -> str:
        return inner()

    assert outer.apply().get() == outer.name
    assert asked() is None


def test_who_wants_to_know_is_told_of_each_app_that_is_complete() -> None:
    with umbel.app.current.kept():
        told = []
        connect = StandIn("celery._state").connect_on_app_finalize
        assert connect(told.append) == told.append
        made = umbel.Celery("complete", set_as_current=False)
        assert told == []
        made.finalize()
        assert told == [made]


def test_the_default_app_is_whichever_it_is() -> None:
    made = umbel.Celery("default one", set_as_current=False)
    with umbel.app.current.kept():
        umbel.app.current.set_default_app(made)
        assert app.default_app.main == "default one"


@pytest.mark.parametrize(
    "url",
    [
        *("redis://host/1", "rediss://host/1", "sqlite:///x.db", "rpc://"),
        *("cache+memory://", "redis+socket:///x.sock", "redis+cluster://host/0"),
    ],
)
def test_umbels_own_backends_are_found_by_their_urls(url: str) -> None:
    found, kept = backends.by_url(url)

    assert kept == url
    assert issubclass(found, StandIn("celery.backends.base").Backend)


def test_no_backend_is_the_one_that_keeps_nothing() -> None:
    assert backends.by_name() is backends.by_name("disabled")
    assert backends.by_name(dict) is dict
    with pytest.raises(ImproperlyConfigured, match="module"):
        backends.by_name("os")
    with pytest.raises(ImproperlyConfigured, match="spell"):
        backends.by_name("unknown")


def test_errors_of_cryptography_become_errors_of_security() -> None:
    with (
        pytest.raises(SecurityError, match="InvalidSignature"),
        StandIn("celery.security.utils").reraise_errors(),
    ):
        raise InvalidSignature
