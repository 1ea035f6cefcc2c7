"""``umbel multi``: which workers the arguments name, and with which options."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]

FILES = ("--pidfile=%n.pid", "--logfile=%n%I.log", "-n", "here", "--executable=python")


def shown(run: Run, *arguments: str) -> list[str]:
    code, out, err = run("multi", "show", *arguments, *FILES)
    assert (code, err) == (0, "")
    return out.splitlines()


def test_a_count_and_names_make_names(run: Run) -> None:
    assert run("multi", "names", "2", "-n", "here")[1].split() == ["celery1@here", "celery2@here"]
    assert run("multi", "names", "a", "b@far", "-n", "here")[1].split() == ["a@here", "b@far"]
    assert run("multi", "names", "2", "--range-prefix=w", "-n", "here")[1].startswith("w1@here")
    assert run("multi", "names", "a", "--prefix=x-", "--suffix=far")[1] == "x-a@far\n"


def test_the_whole_command_is_shown(run: Run) -> None:
    code, out, _ = run(
        "-A", "proj", "multi", "show", "w1", *("-l", "INFO", *FILES, "--", "-x", "y")
    )

    assert code == 0
    assert out == (
        "python -m umbel -A proj worker --detach -n w1@here -l INFO --pidfile=w1.pid "
        "--logfile=w1%I.log -- -x y\n"
    )


@pytest.mark.parametrize(
    ("place", "names"),
    [("2", "2"), ("1,3", "13"), ("1-3", "123"), ("3-9", "34"), ("1-2,4", "124")],
)
def test_options_for_some_of_a_count(run: Run, place: str, names: str) -> None:
    lines = shown(run, "4", f"-Q:{place}", "mail", "-Q", "rest")

    chosen = "".join(str(at) for at, line in enumerate(lines, 1) if "-Q mail" in line)
    assert chosen == names
    assert sum("-Q rest" in line for line in lines) == 4 - len(names)


@pytest.mark.parametrize("place", ["b", "2", "b@here", "b,x"])
def test_options_for_one_of_some_names(run: Run, place: str) -> None:
    first, second = shown(run, "a", "b", "-c", "1", f"-c:{place}", "7")

    assert "-c 1" in first
    assert "-c 7" in second


def test_flags_and_long_options_leave_names_alone(run: Run) -> None:
    first, second = shown(run, "-E", "a", "--loglevel", "INFO", "b")

    assert "-n a@here" in first
    assert "-E" in second
    assert "--loglevel=INFO" in second


def test_templates_are_filled_in(run: Run) -> None:
    arguments = ("multi", "expand", "%n.%d %h %N%I 9%%", "a@x", "b@y")

    assert run(*arguments)[1] == "a.x a@x a%I 9%\nb.y b@y b%I 9%\n"


def test_the_arguments_of_one_worker(run: Run) -> None:
    code, out, _ = run("multi", "get", "a@here", "a", "b", *FILES, "--append=--x=%n")

    assert code == 0
    assert out.startswith("-m umbel worker --detach -n a@here")
    assert out.endswith("--x=a\n")
    assert run("multi", "get", "z@here", "a", "b", *FILES)[0] == 1


def test_an_index_beyond_the_last_name_is_refused(run: Run) -> None:
    code, _, err = run("multi", "names", "a", "b", "-c:3", "1")

    assert code == 1
    assert "No node at index '3'" in err


@pytest.mark.parametrize("arguments", [(), ("dance", "a")])
def test_what_multi_cannot_do_is_told_with_its_usage(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, _ = run("multi", *arguments)

    assert code == 1
    assert "usage: umbel multi start" in out


@pytest.mark.skipif(os.name == "nt", reason="processes of POSIX")
def test_a_process_that_is_gone_is_not_signalled(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.pid").write_text("2147483646\n")

    code, out, _ = run("multi", "stop", "a", "b", "-9", "--nosplash", *FILES)

    assert code == 0
    assert "> a@here: KILL -> 2147483646" in out
    assert "Could not signal a@here (2147483646): No such process" in out
    assert "> b@here: DOWN" in out
    assert "umbel multi v" not in out
