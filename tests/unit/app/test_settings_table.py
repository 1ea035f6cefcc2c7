"""The table of settings against Celery's own, the peer that is installed for the tests."""

from __future__ import annotations

import re
from pathlib import Path

import celery.app.defaults
import pytest

import umbel
from umbel.app.configuring.values import KINDS, accepted
from umbel.app.defaults import NAME_BY_OLD_NAME, SECTIONS, SETTINGS
from umbel.app.defaults.support import MISSING

CELERYS = dict(celery.app.defaults.flatten(celery.app.defaults.NAMESPACES))


@pytest.mark.parametrize("name", sorted(CELERYS))
def test_every_setting_of_celery_is_there_with_its_default(name: str) -> None:
    theirs, ours = CELERYS[name], SETTINGS[name]

    assert ours.default == theirs.default
    assert not ours.own


def test_old_names_are_celerys() -> None:
    assert NAME_BY_OLD_NAME == celery.app.defaults._TO_NEW_KEY


def test_settings_of_our_own_are_marked() -> None:
    own = {name for name, setting in SETTINGS.items() if setting.own}

    assert own == {
        "beat_schedule_store",
        "dead_letters_expires",
        "dead_letters_max",
        "result_buffer_max",
        "task_decompressed_max_size",
        "task_max_deliveries",
        "worker_blocked_timeout",
        "worker_health_host",
        "worker_health_port",
        "worker_heartbeat_file",
        "worker_lease",
        "worker_log_json",
        "worker_stall_timeout",
    }
    assert len(SETTINGS) - len(own) == 234


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_setting_is_described(name: str) -> None:
    setting = SETTINGS[name]

    assert setting.text.endswith(".")
    assert set(setting.kind.split(" | ")) <= KINDS.keys()
    assert accepted(setting, setting.default, "the default") == setting.default


def test_no_setting_is_in_two_sections() -> None:
    assert sum(map(len, SECTIONS.values())) == len(SETTINGS)


def test_every_setting_is_either_read_or_said_to_have_no_effect() -> None:
    root = Path(umbel.__file__).parent
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for path in root.rglob("*.py")
        if "defaults" not in path.parts
    )
    words = set(re.findall(r"\w+", code))
    # The command line reads worker_logfile and its like by the names of its options.
    options = ("logfile", "pidfile", "uid", "gid", "umask")
    by_option = {
        f"{service}_{name}" for service in ("worker", "beat", "events") for name in options
    }
    missing = {name for entry in MISSING if not entry.only for name in entry.settings}

    # They switch off what is not there yet.
    idle = {"worker_disable_rate_limits", "worker_enable_remote_control"}

    # django-celery-results reads it.
    by_others = {"cache_backend"}

    unread = SETTINGS.keys() - words - missing - by_option - idle - by_others

    assert unread == set()


def test_what_is_missing_names_settings_once() -> None:
    names = [name for entry in MISSING for name in entry.settings]

    assert len(names) == len(set(names))
    assert set(names) <= SETTINGS.keys()
