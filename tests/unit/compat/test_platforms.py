"""``celery.platforms`` and what else has no place of its own."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.compat.peer import StandIn
from umbel.compat import moved

platforms = StandIn("celery.platforms")


def test_errors_of_the_system_are_passed_over_by_name_and_no_others() -> None:
    with platforms.ignore_errno("ENOENT"):
        raise OSError(errno.ENOENT, "not there")
    with pytest.raises(OSError, match="busy"), platforms.ignore_errno("ENOENT"):
        raise OSError(errno.EBUSY, "busy")


def test_a_buffer_is_no_terminal_and_neither_is_what_cannot_tell() -> None:
    assert not platforms.isatty(io.StringIO())
    assert not platforms.isatty(object())


def test_signals_have_names_without_their_prefix() -> None:
    assert platforms.signal_name(2) == "INT"


def test_a_module_is_imported_if_it_is_there() -> None:
    assert moved.try_import("sys") is sys
    assert moved.try_import("there.is.no.such", 1) == 1


def test_an_exception_is_raised_again_where_it_was() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        first = error
    with pytest.raises(KeyError) as again:
        moved.reraise(KeyError, first, first.__traceback__)

    assert again.value is first


def test_a_command_ends_with_the_code_it_gives() -> None:
    error = moved.CeleryCommandException("away", exit_code=platforms.EX_UNAVAILABLE)

    assert (error.format_message(), error.exit_code) == ("away", 69)


_DAEMON = """
import os, sys
if sys.argv[1] == "ours":
    sys.path.insert(0, {root!r})
    from tests.unit.compat.peer import StandIn
    m = StandIn("celery.platforms")
else:
    from celery import platforms as m
parent, session = os.getpid(), os.getsid(0)
secret = os.open("secret", os.O_CREAT | os.O_RDWR)
inode = os.fstat(secret).st_ino
with m.detached(logfile="log", pidfile="pid", umask=0o27):
    print("nobody reads this")
    try:
        # Its number may be another file's by now.
        closed = os.fstat(secret).st_ino != inode
    except OSError:
        closed = True
    m.create_pidlock("pid")
    with open("said.new", "w") as said:
        said.write(repr((
            os.getpid() != parent, os.getsid(0) != session, os.getsid(0) != os.getpid(), closed,
            os.getcwd() == {folder!r}, os.umask(0), os.path.exists("log"), os.path.exists("pid"),
            os.readlink("/proc/self/fd/1"),
        )))
    os.rename("said.new", "said")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_program_goes_on_in_the_background_as_celerys_does(tmp_path: Path) -> None:
    said = {}
    for who in ("ours", "theirs"):
        folder = tmp_path / who
        folder.mkdir()
        program = _DAEMON.format(root=str(Path(__file__).parents[3]), folder=str(folder))
        subprocess.run(
            [sys.executable, "-c", program, who],
            cwd=folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            check=True,
            timeout=100,
            stdout=subprocess.DEVNULL,
        )
        until = time.monotonic() + 60
        while not (folder / "said").exists() and time.monotonic() < until:
            time.sleep(0.02)
        said[who] = (folder / "said").read_text()

    assert said["ours"] == said["theirs"]
    assert said["ours"] == repr((*(True,) * 5, 0o27, True, True, "/dev/null"))


_USERS = """
import os, sys
if sys.argv[1] == "ours":
    sys.path.insert(0, {root!r})
    from tests.unit.compat.peer import StandIn
    m = StandIn("celery.platforms")
else:
    from celery import platforms as m
m.maybe_drop_privileges({arguments})
print(os.getresuid(), os.getresgid(), sorted(os.getgroups()))
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may")
@pytest.mark.parametrize("arguments", ["", "'nobody'", "uid='nobody', gid='daemon'", "gid=1"])
def test_root_becomes_another_user_for_good_as_with_celery(arguments: str) -> None:
    root = str(Path(__file__).parents[3])
    ours, theirs = (
        subprocess.run(
            [sys.executable, "-c", _USERS.format(root=root, arguments=arguments), who],
            check=True,
            timeout=100,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        ).stdout
        for who in ("ours", "theirs")
    )

    assert ours == theirs
    assert ours.startswith("(")
