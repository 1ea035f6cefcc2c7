"""URLs and the drivers that serve them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from umbel import Umbel
from umbel.app.connecting import drivers, urls
from umbel.exceptions import ImproperlyConfigured


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:secret@localhost/0", "redis://:**@localhost/0"),
        ("redis://user:se:cr@et@localhost/0", "redis://user:**@localhost/0"),
        ("rediss://u:p%40ss@h/0?ssl_cert_reqs=none", "rediss://u:**@h/0?ssl_cert_reqs=none"),
        ("redis://h/0?password=hidden&db=1", "redis://h/0?password=**&db=1"),
        ("sqlite:////var/lib/queue.db", "sqlite:////var/lib/queue.db"),
        ("sqlite://", "sqlite://"),
        ("redis://:a@one/0;redis://:b@two/0", "redis://:**@one/0;redis://:**@two/0"),
    ],
)
def test_a_shown_url_has_no_password(url: str, shown: str) -> None:
    assert urls.safe_url(url) == shown


def test_an_unknown_scheme_is_named_without_its_password() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"kafka://u:\*\*@host.*memory://") as caught:
        drivers.driver_of("kafka://u:secret@host")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///queue.db", "queue.db"),
        ("sqlite:////var/lib/queue.db", "/var/lib/queue.db"),
        ("sqlite:///my%20queue.db", "my queue.db"),
    ],
)
def test_a_sqlite_url_names_its_file(url: str, path: str) -> None:
    assert urls.database_of(url, "project") == path


TASKS = """
from umbel import Umbel
app = Umbel("shop")
"""
SHOW = "import sys; sys.path.insert(0, sys.argv[1]); import tasks; print(tasks.app.project)"


def project_seen_from(folder: Path, code: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", SHOW, str(code)],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_the_default_database_is_the_same_from_every_directory(tmp_path: Path) -> None:
    code = tmp_path / "shop"
    code.mkdir()
    (code / "tasks.py").write_text(TASKS)

    here, there = project_seen_from(code, code), project_seen_from(Path(os.sep), code)

    assert here == there
    assert urls.default_database(here) == urls.default_database(there)


def test_two_projects_never_share_the_default_database(tmp_path: Path) -> None:
    projects = []
    for name in ("one", "two"):
        code = tmp_path / name
        code.mkdir()
        (code / "tasks.py").write_text(TASKS)
        projects.append(urls.default_database(project_seen_from(tmp_path, code)))

    assert projects[0] != projects[1]


def test_the_default_is_shown_as_the_file_that_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMBEL_STATE_DIR", str(tmp_path))

    shown = urls.shown_url("sqlite://", "/home/me/shop")

    assert shown.startswith(f"sqlite:///{tmp_path}/shop-")
    assert shown.removeprefix("sqlite:///") == urls.default_database("/home/me/shop")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("reddis://u:secret@host", "Did you mean 'redis'"),
        ("localhost:6379", "no URL: it begins with a scheme, as in redis://localhost:6379"),
    ],
)
def test_a_url_that_nobody_serves_is_explained(url: str, said: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        drivers.driver_of(url)

    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_password_with_a_slash_is_explained_and_not_shown(scheme: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="%2F") as caught:
        Umbel("shop", broker=f"{scheme}://u:sec/ret@host:1", set_as_current=False).make_broker()

    assert "sec" not in str(caught.value).replace("password", "")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
