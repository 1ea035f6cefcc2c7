"""Where settings are read from: modules, classes, objects, mappings, names."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from datetime import timezone
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from umbel import Umbel
from umbel.app.configuring.sources import read_object
from umbel.exceptions import ImproperlyConfigured, UmbelWarning, UnknownSetting

Write = Callable[[str, str], None]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Umbel:
    for name in ("UMBEL_CONFIG_MODULE", "CELERY_CONFIG_MODULE", "CELERY_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
    return Umbel("shop", set_as_current=False)


def module(**names: Any) -> ModuleType:
    made = ModuleType("proj.config")
    vars(made).update(names)
    return made


def test_new_names_are_read_from_a_module() -> None:
    found = read_object(module(task_acks_late=True, os=sys, _task_protocol=7, HELPER=1))

    assert found == {"task_acks_late": True}
    assert found.origin == "set in the module 'proj.config'"


def test_old_names_are_read_as_new_ones() -> None:
    found = read_object(module(BROKER_URL="redis://", CELERY_TASK_SERIALIZER="yaml"))

    assert found == {"broker_url": "redis://", "task_serializer": "yaml"}
    assert found.written["broker_url"] == "BROKER_URL"


def test_classes_and_objects_and_mappings_are_read_too() -> None:
    class Base:
        task_acks_late = True

    class Config(Base):
        task_serializer = "yaml"

    wanted = {"task_acks_late": True, "task_serializer": "yaml"}

    assert read_object(Config) == wanted
    assert read_object(Config()) == wanted
    assert read_object(SimpleNamespace(**wanted)) == wanted
    assert read_object(wanted) == wanted


def test_a_prefix_is_taken_away() -> None:
    source = module(CELERY_TASK_ACKS_LATE=True, CELERY_BROKER_URL="redis://", TASK_PROTOCOL=1)

    assert read_object(source, "CELERY") == {"task_acks_late": True, "broker_url": "redis://"}
    assert read_object(module(shop_task_protocol=1), "shop") == {"task_protocol": 1}
    assert read_object({"CELERY_TASK_PROTOCOL": 1, "DEBUG": True}, "CELERY") == {"task_protocol": 1}


def test_djangos_time_zone_counts() -> None:
    assert read_object(module(TIME_ZONE="Europe/Oslo"), "CELERY") == {"timezone": "Europe/Oslo"}
    assert read_object(module(TIME_ZONE="Europe/Oslo", CELERY_TIMEZONE="UTC"), "CELERY") == {
        "timezone": "UTC"
    }


def test_mixing_old_and_new_names_is_an_error_that_says_what_to_rename() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        read_object(module(task_acks_late=True, task_protocol=2, CELERY_TASK_SERIALIZER="json"))
    assert "CELERY_TASK_SERIALIZER -> task_serializer" in str(caught.value)
    assert "task_protocol" not in str(caught.value)

    with pytest.raises(ImproperlyConfigured) as caught:
        read_object({"task_acks_late": True, "BROKER_URL": "a", "CELERY_TASK_SERIALIZER": "json"})
    assert "task_acks_late -> CELERY_ACKS_LATE" in str(caught.value)


def test_what_a_module_merely_imports_sets_nothing() -> None:
    def include() -> None: ...

    assert read_object(module(timezone=timezone, imports=sys, include=include)) == {}


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("task_ack_late", "task_acks_late"),
        ("late_task_acks", "task_acks_late"),
        ("task_soft_limit", "task_soft_time_limit"),
        ("timezon", "timezone"),
        ("CELERY_TASK_SERIALISER", "CELERY_TASK_SERIALIZER"),
        ("BROKER_ULR", "BROKER_URL"),
    ],
)
@pytest.mark.parametrize("kind", [module, lambda **names: type("Config", (), names)])
def test_a_misspelt_setting_in_a_module_or_class_is_an_error(
    kind: Any, misspelt: str, meant: str
) -> None:
    with pytest.raises(UnknownSetting, match=f"'{misspelt}'.*Did you mean '{meant}'.*_{misspelt}"):
        read_object(kind(**{misspelt: "x"}))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("result_backend_url", "Did you mean 'result_backend'"),
        ("CELERY_BROKER_URL", "namespace='CELERY'"),
    ],
)
def test_what_only_resembles_a_setting_in_a_module_is_warned_of(name: str, said: str) -> None:
    with pytest.warns(UmbelWarning, match=said):
        assert read_object(module(**{name: "x"})) == {}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "redbeat_redis_url",
            "singleton_backend_url",
            "ONCE",
            "CELERY_ONCE",
            "CELERY_EMAIL_BACKEND",
        ),
        *("_task_ack_late", "DATABASES", "DEBUG", "DJANGO_CELERY_BEAT_TZ_AWARE", "broker_db"),
    ],
)
def test_what_is_somebody_elses_in_a_module_is_left_alone(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_object(module(**{name: "x"})) == {}


def test_a_modules_own_names_can_be_read(app: Umbel, write: Write) -> None:
    write("ownconfig", "task_acks_late = True\nMY_LIMIT = 5\nshop = 'here'\n_hidden = 1")
    app.config_from_object("ownconfig")

    assert (app.conf.MY_LIMIT, app.conf["shop"], app.conf.get("shop")) == (5, "here", "here")
    assert "MY_LIMIT" in app.conf
    assert "_hidden" not in app.conf
    assert "MY_LIMIT" not in app.conf.table()
    assert app.conf.get("nothing") is None
    with pytest.raises(AttributeError, match="'shoop' is not a setting"):
        _ = app.conf.shoop
    with pytest.raises(UnknownSetting):
        app.conf.update(MY_LIMIT=6)


def test_what_is_no_setting_in_a_mapping_is_an_error() -> None:
    with pytest.raises(UnknownSetting, match="'task_ack_late', set in the mapping given"):
        read_object({"task_ack_late": True})


def test_a_misspelt_name_with_the_prefix_is_an_error() -> None:
    with pytest.raises(UnknownSetting, match="Did you mean 'CELERY_TASK_ACKS_LATE'"):
        read_object(module(CELERY_TASK_ACK_LATE=True), "CELERY")
    with pytest.raises(ImproperlyConfigured, match="written CELERY_RESULT_EXPIRES"):
        read_object(module(CELERY_TASK_RESULT_EXPIRES=1), "CELERY")
    for name in ("CELERY_ONCE", "CELERY_BEAT_DBURI", "CELERY_TASK_LOCK_TIMEOUT"):
        with pytest.warns(UmbelWarning, match=f"{name}.*no effect"):
            assert read_object(module(**{name: True}), "CELERY") == {}


def test_a_wrong_value_says_in_which_module_it_is(app: Umbel, write: Write) -> None:
    write("shopconfig", "task_acks_late = 'no'")
    app.config_from_object("shopconfig")

    with pytest.raises(ImproperlyConfigured, match="set in the module 'shopconfig'"):
        _ = app.conf.task_acks_late


def test_a_configuration_is_named_in_any_of_three_ways(app: Umbel, write: Write) -> None:
    write("proj.__init__", "")
    write("proj.config", "class Config:\n    task_protocol = 1\n")

    for name in ("proj.config:Config", "proj.config.Config"):
        app.config_from_object(name)
        assert app.conf.task_protocol == 1
    app.config_from_object("proj.config")
    assert app.conf.task_protocol == 2


def test_a_configuration_that_is_not_there_says_where_it_was_looked_for(
    app: Umbel, write: Write, tmp_path: Path
) -> None:
    app.config_from_object("nowhere.config")
    with pytest.raises(ImproperlyConfigured) as caught:
        _ = app.conf.task_protocol
    assert "nowhere" in str(caught.value)
    assert str(tmp_path) in str(caught.value)

    app.config_from_object("nowhere.config", silent=True)
    assert app.conf.task_protocol == 2


def test_an_error_inside_a_configuration_module_is_not_hidden(app: Umbel, write: Write) -> None:
    write("shopconfig", "import no_such_thing")
    app.config_from_object("shopconfig")

    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
        _ = app.conf.task_protocol


@pytest.mark.parametrize("name", ["celeryconfig", "umbelconfig"])
def test_configuration_modules_are_found_by_themselves(app: Umbel, write: Write, name: str) -> None:
    write(name, "task_default_queue = 'found'")

    assert app.conf.task_default_queue == "found"


@pytest.mark.parametrize("variable", ["UMBEL_CONFIG_MODULE", "CELERY_CONFIG_MODULE"])
def test_the_environment_names_the_configuration_module(
    app: Umbel, write: Write, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    write("elsewhere", "task_default_queue = 'found'")
    monkeypatch.setenv(variable, "elsewhere")

    assert app.conf.task_default_queue == "found"
    assert app.conf.origin("task_default_queue") == "set in the module 'elsewhere'"


def test_a_variable_that_is_not_set_is_an_error(app: Umbel) -> None:
    with pytest.raises(ImproperlyConfigured, match="SHOP_CONFIG is not set"):
        app.config_from_envvar("SHOP_CONFIG")
    app.config_from_envvar("SHOP_CONFIG", silent=True)


def test_a_worker_imports_the_modules_of_imports_and_include_once(app: Umbel, write: Write) -> None:
    write("one", "")
    write("two", "")
    app.conf.update(imports=("one", "two"), include=["two"])

    modules = app.loader.import_default_modules()

    assert [found.__name__ for found in modules] == ["one", "two"]


def test_a_module_that_is_not_there_is_reported_with_its_setting(app: Umbel, write: Write) -> None:
    app.conf.include = ["nowhere.tasks"]

    with pytest.raises(ModuleNotFoundError, match="setting 'include'"):
        app.loader.import_default_modules()


def test_packages_without_tasks_are_passed_over(app: Umbel, write: Write) -> None:
    write("shop_a.__init__", "")
    write("shop_a.tasks", "")
    write("shop_b.__init__", "")
    write("shop_c.__init__", "")
    write("shop_c.tasks", "import no_such_thing")

    modules = app.loader.autodiscover_tasks(["shop_a", "shop_b"])

    assert [found.__name__ for found in modules] == ["shop_a.tasks"]
    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
        app.loader.autodiscover_tasks(["shop_c"])
    with pytest.raises(ModuleNotFoundError, match="shop_d"):
        app.loader.autodiscover_tasks(["shop_d"])
