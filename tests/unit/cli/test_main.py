"""The command line: options, errors, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from umbel import Umbel, __version__
from umbel.cli.main import umbel

Run = Callable[..., tuple[int, str, str]]


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version") == (0, f"umbel {__version__}\n", "")


def test_without_a_command_there_is_help(run: Run) -> None:
    code, _, err = run()

    assert code == 2
    assert "Commands:" in err


def test_every_command_has_help_and_the_global_options(run: Run) -> None:
    for name, command in umbel.commands.items():
        code, out, _ = run(name, "--help")

        assert code == 0
        assert command.help
        if not isinstance(command, click.Group) and name != "multi":
            assert "-A, --app" in out


def test_amqp_is_for_rabbitmq(run: Run) -> None:
    code, _, err = run("amqp", "queue.purge", "celery")

    assert code == 1
    assert "does not speak AMQP" in err


def test_a_command_that_does_not_exist_is_guessed(run: Run) -> None:
    code, _, err = run("wroker")

    assert code == 2
    assert "there is no command 'wroker'. Did you mean 'worker'?" in err


def test_an_option_that_does_not_exist_is_guessed(run: Run) -> None:
    code, _, err = run("worker", "--concurency", "3")

    assert code == 2
    assert "--concurrency" in err


@pytest.mark.parametrize("before", [True, False])
def test_global_options_stand_before_or_after_the_command(
    run: Run, tmp_path: Path, before: bool
) -> None:
    (tmp_path / "jobs.py").write_text(
        "from umbel import Umbel\napp = Umbel('jobs', broker='memory://', set_as_current=False)"
    )
    chosen = ["-A", "jobs", "-b", "memory://other"]

    argv = [*chosen, "report", "--json"] if before else ["report", *chosen, "--json"]
    code, out, _ = run(*argv)

    assert code == 0
    assert json.loads(out)["app"] == "jobs"
    assert json.loads(out)["broker"] == "memory://other"


def test_the_app_can_be_named_in_the_environment(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs.py").write_text(
        "from umbel import Umbel\napp = Umbel('jobs', broker='memory://', set_as_current=False)"
    )
    monkeypatch.setenv("CELERY_APP", "jobs")

    _, out, _ = run("report", "--json")

    assert json.loads(out)["app"] == "jobs"


def test_an_app_that_is_not_there_is_one_paragraph(run: Run) -> None:
    code, out, err = run("-A", "nowhere", "report")

    assert (code, out) == (1, "")
    assert err.startswith("Error: there is no module 'nowhere'")


def test_the_folder_is_changed_first(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (folder / "jobs.py").write_text(
        "from umbel import Umbel\napp = Umbel('jobs', broker='memory://', set_as_current=False)"
    )

    code, out, _ = run("--workdir", str(folder), "-A", "jobs", "report", "--json")

    assert (code, json.loads(out)["app"]) == (0, "jobs")


def test_a_task_is_sent_and_its_id_printed(run: Run, app: Umbel) -> None:
    code, out, _ = run("call", "shop.add", "-a", "[1, 2]", "--countdown", "3")

    assert code == 0
    assert app.AsyncResult(out.strip()).state == "PENDING"


def test_options_of_commands_are_read_from_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_CALL_QUEUE", "mail")
    run("call", "shop.add", "-a", "[1, 2]")

    _, out, _ = run("purge", "-f", "-Q", "mail", "--json")

    assert json.loads(out) == {"purged": 1, "queues": ["mail"]}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["-a", "[1,"], "is not JSON"),
        (["-a", "{}"], "is not a JSON list"),
        (["-k", "[]"], "is not a JSON object"),
        (["--eta", "tomorrow"], "is not a moment"),
        (["--expires", "soon"], "or a number of seconds"),
    ],
)
def test_wrong_arguments_of_a_call_are_explained(run: Run, argv: list[str], said: str) -> None:
    code, _, err = run("call", "shop.add", *argv)

    assert code == 2
    assert said in err


def test_a_result_that_is_not_there_in_time_is_a_failure(run: Run) -> None:
    code, out, err = run("result", "no-such-id", "--timeout", "0.01")

    assert (code, out) == (1, "")
    assert "no-such-id is PENDING" in err


def test_a_result_is_told_to_programs(run: Run) -> None:
    code, out, _ = run("result", "no-such-id", "--timeout", "0.01", "--json")

    assert code == 0
    assert json.loads(out)["state"] == "PENDING"


def _no(*_: object) -> str:
    return "n"


def test_queues_are_purged_after_a_question(
    run: Run, app: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.send_task("shop.add", (1, 2))
    monkeypatch.setattr(click.termui, "visible_prompt_func", _no)

    code, out, _ = run("purge")
    assert code == 130
    assert out == ""

    code, out, _ = run("purge", "--force")
    assert (code, out) == (0, "Purged 1 message from 1 queue.\n")
    assert run("purge", "-f")[1] == "No messages purged from 1 queue.\n"


def test_bindings_are_listed(run: Run) -> None:
    assert run("list", "bindings")[1].splitlines()[0].split() == [
        "Queue",
        "Exchange",
        "Routing",
        "key",
    ]
    assert json.loads(run("list", "bindings", "--json")[1]) == [
        {"queue": "celery", "exchange": "celery", "routing_key": "celery"}
    ]


def test_settings_show_value_default_and_source(run: Run, app: Umbel) -> None:
    app.conf.task_acks_late = True

    _, out, _ = run("settings", "acks_late", "--json")

    [(name, about)] = json.loads(out).items()
    assert name == "task_acks_late"
    assert about["value"] is True
    assert about["default"] is False
    assert about["source"] == "set in code"
    assert "acknowledged" in about["text"]


def test_only_changed_settings_are_shown_if_asked(run: Run, app: Umbel) -> None:
    app.conf.task_acks_late = True

    _, out, _ = run("settings", "--changed")

    assert {line.split()[0] for line in out.splitlines()} == {
        "Setting",
        "task_acks_late",
        "result_backend",
        "broker_url",
    }


def test_a_setting_that_does_not_exist_is_guessed(run: Run) -> None:
    code, _, err = run("settings", "task_ack_late")

    assert code == 2
    assert "Did you mean 'task_acks_late'?" in err


def test_passwords_are_nowhere(run: Run, app: Umbel) -> None:
    app.conf.result_backend = "redis://joe:hush@localhost/0"

    for argv in (["settings"], ["settings", "--json"], ["report"], ["report", "--json"]):
        code, out, err = run(*argv)

        assert code == 0
        assert "hush" not in out + err


@pytest.mark.parametrize("command", [["purge", "-f"], ["call", "shop.add"], ["result", "some-id"]])
def test_a_broker_that_is_away_is_named_without_its_password(run: Run, command: list[str]) -> None:
    url = "redis://joe:hush@127.0.0.1:1/0"

    code, out, err = run("-b", url, "--result-backend", url, *command)

    assert (code, out) == (69, "")
    assert "127.0.0.1:1" in err
    assert "hush" not in err


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("prefetch_multiplier=many", "worker_prefetch_multiplier must be an integer"),
        ("nonsense=1", "'nonsense' is not a setting"),
        ("nonsense", "neither an option nor SETTING=VALUE"),
        ("direct=true", "queues of single workers are not in this release"),
    ],
)
def test_wrong_settings_on_the_command_line_are_explained(
    run: Run, argument: str, said: str
) -> None:
    code, _, err = run("worker", argument)

    assert code == (1 if argument == "direct=true" else 2)
    assert said in err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("-P", "nope"), "'nope' is not a pool"),
        (("-c", "many"), "concurrency must be a number"),
        (("--autoscale", "x"), "autoscale must be the most and the least"),
    ],
)
def test_options_of_a_worker_that_make_no_sense_are_wrong_usage(
    run: Run, argv: tuple[str, str], said: str
) -> None:
    code, _, err = run("worker", *argv)

    assert code == 2
    assert said in err


def test_a_module_that_a_worker_cannot_import_is_one_sentence(run: Run, app: Umbel) -> None:
    code, _, err = run("worker", "-P", "solo", "-I", "not_there_at_all")

    assert code == 1
    assert "cannot import 'not_there_at_all'" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "command", [["doctor", "--offline"], ["shell"], ["inspect", "ping"], ["beat"]]
)
def test_a_module_of_tasks_that_fails_is_shown_where_it_does(
    run: Run, app: Umbel, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "failing_tasks.py").write_text("1 / 0")
    app.conf.imports = ["failing_tasks"]

    code, _, err = run(*command)

    assert code == 1
    assert 'failing_tasks.py", line 1' in err
    assert err.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "umbel/cli" not in err


def test_beat_takes_settings_too(run: Run) -> None:
    code, _, err = run("beat", "max_loop_interval=often")

    assert code == 2
    assert "beat_max_loop_interval" in err
    assert run("beat", "nonsense")[0] == 2


@pytest.mark.parametrize(("verb", "word"), [("retry", "retried"), ("drop", "dropped")])
def test_what_became_of_dead_letters_is_told_to_programs(run: Run, verb: str, word: str) -> None:
    _, out, _ = run("dead", verb, "--all", "--json")

    assert json.loads(out) == {word: 0}


@pytest.mark.parametrize("verb", ["retry", "drop"])
def test_dead_letters_that_are_not_there_are_a_failure(run: Run, verb: str) -> None:
    code, _, err = run("dead", verb, "98", "99")

    assert code == 1
    assert "2 of these dead letters are not there" in err


@pytest.mark.parametrize("more", [(), ("-d", "till@here")], ids=["all", "one"])
def test_workers_that_are_told_to_end_are_not_waited_for(
    run: Run, app: Umbel, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    told = list[object]()

    def note(destination: object = None) -> None:
        told.append(destination)

    monkeypatch.setattr(app.control, "shutdown", note)

    code, out, err = run("control", "shutdown", *more)

    assert (code, err) == (0, "")
    assert out == "Told to shut down; workers do not answer that.\n"
    assert told == [["till@here"] if more else None]
