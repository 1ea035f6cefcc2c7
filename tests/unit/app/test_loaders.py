"""Loaders and fixups: what finds configuration and modules, and what fits an app to frameworks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from umbel import Umbel
from umbel.app.configuring.loaders import Loader, get_loader_cls
from umbel.contrib.testing.worker import start_worker
from umbel.exceptions import FixupWarning, ImproperlyConfigured


class CelerysKind(Loader):
    """As Celery's documentation has it: no source, a mapping, hooks."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self.called: list[Any] = []

    def read_configuration(self, env: str = "CELERY_CONFIG_MODULE") -> Any:  # type: ignore[override]
        return {"broker_url": "memory://", "task_default_queue": "mail"}

    def on_worker_init(self) -> None:
        self.called.append("worker init")

    def on_task_init(self, task_id: str, task: Any) -> None:
        self.called.append((task_id, task.name))

    def on_process_cleanup(self) -> None:
        self.called.append("cleanup")

    def on_worker_shutdown(self) -> None:
        self.called.append("worker shutdown")


@pytest.mark.parametrize("name", [None, "default", "app", Loader])
def test_celerys_names_of_loaders_mean_the_one_there_is(name: Any) -> None:
    assert get_loader_cls(name) is Loader


def test_a_loader_is_named_by_module_and_class() -> None:
    assert get_loader_cls(f"{__name__}:CelerysKind").__name__ == "CelerysKind"


def test_an_unknown_loader_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match="no loader 'djcelery'"):
        Umbel("x", loader="djcelery", set_as_current=False)


@pytest.mark.parametrize("variable", ["UMBEL_LOADER", "CELERY_LOADER"])
def test_the_environment_may_name_the_loader(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"{__name__}:CelerysKind")

    assert type(Umbel("x", set_as_current=False).loader).__name__ == "CelerysKind"


def test_a_loader_of_celerys_kind_configures_the_app() -> None:
    app = Umbel("x", loader=CelerysKind, set_as_current=False)

    assert (app.conf.broker_url, app.conf.task_default_queue) == ("memory://", "mail")
    assert app.loader.configured


def test_the_hooks_of_a_loader_are_called_in_order() -> None:
    app = Umbel("x", loader=CelerysKind, set_as_current=False)
    task = app.task(name="look")(lambda: 1)

    with app, start_worker(app, perform_ping_check=False, pool="solo"):
        result = task.delay()
        assert result.get(timeout=30) == 1

    loader: Any = app.loader
    assert loader.called == ["worker init", (result.id, "look"), "cleanup", "worker shutdown"]


def test_fixups_are_given_the_app_and_say_where_tasks_are() -> None:
    prepared: list[Umbel] = []

    def framework(app: Umbel) -> Any:
        return SimpleNamespace(
            prepare=lambda: prepared.append(app), autodiscover_tasks=lambda: ["json", "email"]
        )

    app = Umbel("x", fixups=[framework, lambda _: None], set_as_current=False)
    app.autodiscover_tasks(related_name="message")
    found = app.loader.import_default_modules()

    assert (prepared, found) == ([app], [])
    assert app.fixups.packages() == ["json", "email"]


def test_django_that_is_asked_for_but_not_installed_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "settings")
    monkeypatch.setattr("umbel.contrib.django.fixup.find_spec", lambda _: None)

    with pytest.warns(FixupWarning, match="Django is not installed"):
        Umbel("x", set_as_current=False)


def test_a_task_class_may_be_given_by_name() -> None:
    app = Umbel("x", task_cls="umbel.contrib.django.task:DjangoTask", set_as_current=False)

    assert type(app.task(name="look")(lambda: 1)).__name__ == "DjangoTask"
