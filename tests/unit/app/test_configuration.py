"""Where an app's configuration comes from, as the app's own methods have it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured, UnknownSetting

from .conftest import MakeApp, Shop


class Config:
    task_default_queue = "class"
    task_acks_late = True


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A configuration module, importable under the returned name."""
    name = f"conf_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(
        "task_default_queue = 'module'\n"
        "SHOP_TASK_DEFAULT_QUEUE = 'namespaced'\n"
        "class Inner:\n    task_default_queue = 'inner'\n"
        "LOADED = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return name


def forms(module: str) -> list[tuple[Any, str]]:
    import importlib

    loaded = importlib.import_module(module)
    return [
        (module, "module"),
        (f"{module}:Inner", "inner"),
        (f"{module}.Inner", "inner"),
        (loaded, "module"),
        (loaded.Inner, "inner"),
        (Config, "class"),
        (Config(), "class"),
        ({"task_default_queue": "mapping"}, "mapping"),
    ]


@pytest.mark.parametrize("form", range(8))
def test_every_form_of_configuration_is_read(make_app: MakeApp, module: str, form: int) -> None:
    source, queue = forms(module)[form]
    app = make_app()
    app.config_from_object(source)

    assert app.conf.task_default_queue == queue


def test_it_is_read_when_a_setting_is_first_needed_or_at_once(
    make_app: MakeApp, module: str
) -> None:
    make_app().config_from_object(module)
    assert module not in sys.modules
    make_app().config_from_object(module, force=True)
    assert module in sys.modules


def test_a_namespace_picks_the_names_that_have_it(make_app: MakeApp, module: str) -> None:
    app = make_app()
    app.config_from_object(module, namespace="SHOP")

    assert app.conf.task_default_queue == "namespaced"


def test_a_missing_module_is_an_error_unless_told_otherwise(make_app: MakeApp) -> None:
    app = make_app()
    app.config_from_object("no_such_module_at_all")
    with pytest.raises(ImportError, match="no_such_module_at_all"):
        _ = app.conf.task_acks_late
    app.config_from_object("no_such_module_at_all", silent=True)

    assert app.conf.task_acks_late is False


def test_the_environment_can_name_the_module(
    make_app: MakeApp, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    with pytest.raises(ImproperlyConfigured, match="SHOP_CONFIG"):
        app.config_from_envvar("SHOP_CONFIG")
    app.config_from_envvar("SHOP_CONFIG", silent=True)
    monkeypatch.setenv("SHOP_CONFIG", module)
    app.config_from_envvar("SHOP_CONFIG")

    assert app.conf.task_default_queue == "module"


@pytest.mark.parametrize("variable", ["UMBEL_CONFIG_MODULE", "CELERY_CONFIG_MODULE"])
def test_two_variables_are_looked_at_by_themselves(
    make_app: MakeApp, module: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, module)
    assert make_app().conf.task_default_queue == "module"


def test_changes_win_over_the_module_and_that_over_defaults(make_app: MakeApp, module: str) -> None:
    app = make_app()
    app.add_defaults({"task_default_queue": "added", "task_serializer": "yaml"})
    assert app.conf.task_default_queue == "added"
    app.config_from_object(module)
    assert app.conf.task_default_queue == "module"
    app.conf.task_default_queue = "changed"
    app.config_from_object(Config)

    assert app.conf.task_default_queue == "changed"
    assert app.conf.task_acks_late is True
    assert app.conf.task_serializer == "yaml"


def test_arguments_of_the_app_are_changes(make_app: MakeApp) -> None:
    app = make_app(
        broker="redis://h/1",
        backend="redis://h/2",
        include=["a", "b"],
        changes={"task_acks_late": True},
        task_default_queue="own",
        config_source={"task_default_queue": "source", "task_serializer": "yaml"},
    )

    assert app.broker_url == app.conf.broker_url == "redis://h/1"
    assert app.backend_url == app.conf.result_backend == "redis://h/2"
    assert app.conf.include == ["a", "b"]
    assert app.conf.task_acks_late is True
    assert app.conf.task_default_queue == "own"
    assert app.conf.task_serializer == "yaml"


def test_a_wrong_argument_of_the_app_is_refused_at_once() -> None:
    with pytest.raises(UnknownSetting, match=r"(?i)did you mean"):
        Umbel("shop", task_ack_late=True, set_as_current=False)


def test_the_backend_follows_the_broker_unless_it_is_set(make_app: MakeApp) -> None:
    assert make_app(backend=None, broker="redis://h/1").backend_url == "redis://h/1"
    assert make_app(backend=None).backend_url == make_app().broker_url == "sqlite://"
    assert make_app(backend="redis://h/2").backend_url == "redis://h/2"


def test_reading_is_announced(app: Shop) -> None:
    heard: list[tuple[str, Any]] = []
    app.on_configure.connect(lambda sender, **_: heard.append(("before", sender)), weak=False)
    app.on_after_configure.connect(
        lambda sender, source, **_: heard.append(("after", dict(source))), weak=False
    )
    app.config_from_object({"task_acks_late": True})
    assert heard == []
    _ = app.conf.task_acks_late
    _ = app.conf.task_acks_late

    assert heard == [("before", app), ("after", {"task_acks_late": True})]


def test_a_receiver_may_use_the_app_it_is_told_about(app: Shop) -> None:
    seen: list[Any] = []

    @app.on_after_configure.connect(weak=False)
    def set_up(sender: Shop, **_: Any) -> None:
        seen.append(sender.tasks["it"].s(1).task)

    app.task(name="it")(lambda x: x)
    assert app.conf.task_serializer == "json"
    assert seen == ["it"]


def test_threads_that_finalize_while_a_receiver_does_too_do_not_stand_still(app: Shop) -> None:
    from .test_app import in_threads

    app.on_after_configure.connect(lambda **_: app.tasks["it"], weak=False)
    app.task(name="it")(lambda: None)

    in_threads(8, lambda n: app.finalize() if n % 2 else app.conf.task_serializer)

    assert app.finalized
