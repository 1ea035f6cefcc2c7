"""Settings are shown without their secrets."""

from __future__ import annotations

from typing import Any

import pytest

from umbel.app.configuring.censor import HIDDEN, censored, without_passwords
from umbel.app.configuring.settings import Settings


def test_only_what_was_set_is_shown() -> None:
    conf = Settings({"task_acks_late": True, "broker_url": "redis://host"})

    assert conf.humanize() == "broker_url: 'redis://host'\ntask_acks_late: True" or (
        conf.humanize() == "task_acks_late: True\nbroker_url: 'redis://host'"
    )
    assert conf.table() == {"task_acks_late": True, "broker_url": "redis://host"}
    assert conf.table(with_defaults=True)["task_protocol"] == 2


def test_passwords_are_hidden_unless_asked_for() -> None:
    conf = Settings({"broker_url": "redis://joe:hush@host/0", "result_backend": "redis://:hush@h"})

    assert "hush" not in conf.humanize()
    assert "hush" not in repr(conf)
    assert "hush" not in conf.humanize(with_defaults=True)
    assert conf.table()["broker_url"] == f"redis://joe:{HIDDEN}@host/0"
    assert conf.table(censored=False)["broker_url"] == "redis://joe:hush@host/0"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hush@host",
        "redis://joe:hush@host:6379/0",
        "rediss://joe:hu@hush@host/0?ssl_cert_reqs=none",
        "redis://joe:hu/hush@host/0",
        "redis://host/0?password=hush",
        "sentinel://:hush@a:26379;sentinel://:hush@b:26379",
        "redis://a;redis://joe:hush@b",
        "amqp://joe:hu;hush@b//",
        "Connecting to redis://joe:hush@host failed",
    ],
)
def test_no_form_of_a_url_shows_its_password(url: str) -> None:
    assert "hush" not in without_passwords(url)
    assert HIDDEN in without_passwords(url)


@pytest.mark.parametrize("url", ["redis://host:6379/0", "sqlite:///a.db", "memory://", "a@b:c"])
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert without_passwords(url) == url


class _Opaque:
    def __repr__(self) -> str:
        return "<Client redis://joe:hush@host password='hush' token=\"hush\">"


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("api_url", "x", HIDDEN),
        ("my_token", 7, HIDDEN),
        ("SECRET", "x", HIDDEN),
        ("database_url", "x", HIDDEN),
        ("signature", b"x", HIDDEN),
        ("security_key_password", None, None),
        ("database_short_lived_sessions", False, False),
        ("options", {"password": "x", "host": "h"}, {"password": HIDDEN, "host": "h"}),
        ("options", {"sentinel": {"password": "x"}}, {"sentinel": {"password": HIDDEN}}),
        ("urls", ["redis://:x@h"], [f"redis://:{HIDDEN}@h"]),
        ("urls", ("redis://:x@h", 1), (f"redis://:{HIDDEN}@h", 1)),
        ("number", 5, 5),
    ],
)
def test_keys_that_name_secrets_hide_their_values(key: str, value: Any, shown: Any) -> None:
    assert censored(key, value) == shown


def test_an_object_is_shown_by_its_repr_without_secrets() -> None:
    assert "hush" not in censored("client", _Opaque())
    assert "hush" not in str(censored("clients", [_Opaque()]))
