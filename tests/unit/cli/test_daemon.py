"""What a service changes about its process."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from umbel.app.configuring.settings import Settings
from umbel.cli.daemon import Surroundings, prepare


def test_options_win_over_settings() -> None:
    conf = Settings({"worker_logfile": "setting.log", "worker_pidfile": "setting.pid"})

    made = Surroundings.of(conf, logfile="option.log", pidfile=None)

    assert made.logfile == "option.log"
    assert made.pidfile == "setting.pid"
    assert made.uid is None


def test_the_process_id_file_is_there_while_it_runs(tmp_path: Path) -> None:
    conf = Settings()
    path = str(tmp_path / "%n.pid")

    with prepare(Surroundings.of(conf, pidfile=path), "mail@host"):
        assert (tmp_path / "mail.pid").read_text() == f"{os.getpid()}\n"

    assert not (tmp_path / "mail.pid").exists()


def test_two_workers_do_not_share_a_process_id_file(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    path.write_text("1\n")

    with (
        pytest.raises(click.ClickException, match="belongs to process 1"),
        prepare(Surroundings.of(Settings(), pidfile=str(path)), "mail@host"),
    ):
        pass

    assert path.read_text() == "1\n"


def test_the_process_id_file_of_a_dead_worker_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    path.write_text("4194304999\n" if os.name == "nt" else "2147483646\n")

    with prepare(Surroundings.of(Settings(), pidfile=str(path)), "mail@host"):
        assert path.read_text() == f"{os.getpid()}\n"


def test_the_name_of_the_log_file_is_filled_in() -> None:
    surroundings = Surroundings.of(Settings(), logfile="/var/log/%n-%h%I.log")

    with prepare(surroundings, "mail@a1") as logfile:
        assert logfile == "/var/log/mail-a1.log"


def test_the_file_mode_mask_is_octal() -> None:
    before = os.umask(0o22)
    try:
        with prepare(Surroundings.of(Settings(), umask="077"), "mail@a1"):
            assert os.umask(0o77) == 0o77
        with (
            pytest.raises(click.ClickException, match="octal"),
            prepare(Surroundings.of(Settings(), umask="9"), "mail@a1"),
        ):
            pass
    finally:
        os.umask(before)


def test_a_user_that_does_not_exist_is_an_error() -> None:
    with (
        pytest.raises(click.ClickException, match="no-such-user"),
        prepare(Surroundings.of(Settings(), uid="no-such-user"), "mail@a1"),
    ):
        pass
