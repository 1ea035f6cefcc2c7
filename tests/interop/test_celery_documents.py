"""The code in Celery's documents, as its source distribution has it, works under the alias."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.bare import BareInterpreter, Project
from umbel.testing.servers import (
    RabbitMQServer,
    rabbitmq_server,
)

pytestmark = pytest.mark.slow

PROGRAMS = Path(__file__).parent / "programs"

MISSING = {
    # Tasks are made at once here: none waits for its app.
    "userguide/application.rst: add.__evaluated__",
    # What receives a task is not made by the task here.
    "userguide/extending.rst: task.start_strategy",
}
"""What the documents use and the alias does not have, by document. This set only gets smaller."""

SESSIONS = (
    *("getting-started/first-steps-with-celery", "getting-started/next-steps"),
    *("userguide/calling", "userguide/canvas", "userguide/tasks", "userguide/application"),
    *("userguide/routing", "userguide/monitoring", "userguide/periodic-tasks", "faq"),
    # At the end, since it ends all workers.
    "userguide/workers",
)

OTHERWISE = {
    # The class is called so, tasks are made at once, and of their base itself.
    ("application", "app"),
    ("application", "add"),
    ("application", "add.__class__.mro()"),
    # Those of a script are called like the script; this one is another.
    ("application", "add.name"),
    ("application", "app.tasks['__main__.add']"),
    # What the environment says is a setting, too.
    ("application", "app.conf.humanize(with_defaults=False, censored=True)"),
    ("application", "app.conf.table(with_defaults=False, censored=True)"),
    # Tasks with a countdown are still in the broker.
    ("faq", "app.control.purge()"),
    # Python's own ``id``, which is no text.
    ("workers", "AsyncResult(id).revoke()"),
    # One name need not be in a list.
    *(
        ("workers", f"i.{command}()")
        for command in ("registered", "active", "scheduled", "reserved")
    ),
    ("workers", "app.control.broadcast('shutdown', destination='worker1@example.com')"),
}
"""What else may come, by document and statement; the rest is as with Celery."""

WHO_IS_FASTER = re.compile(r"\.(ready|successful|failed|waiting|completed_count|graph|ping)\b")
"""Statements that ask what has happened by now."""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BareInterpreter:
    return BareInterpreter(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQServer]:
    with rabbitmq_server() as server:
        yield server


def test_the_names_that_documents_use_are_there(
    bare: BareInterpreter, source: Path, tmp_path: Path
) -> None:
    docs = source / "docs"
    found = sorted(str(path.relative_to(docs)) for path in docs.rglob("*.rst"))
    documents = [path for path in found if not path.startswith(("history", "internals", "_"))]
    command = [str(PROGRAMS / "read_documents.py"), str(docs), *documents]

    with_umbel = bare.run(*command, cwd=tmp_path).splitlines()[-1]
    with_celery = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]

    assert len(documents) > 50
    # Documents grow old: what Celery does not have any more, nobody misses.
    assert set(json.loads(with_umbel)) - set(json.loads(with_celery)) <= MISSING


def test_first_steps(
    bare: BareInterpreter, source: Path, tmp_path: Path, rabbitmq: RabbitMQServer
) -> None:
    document = source / "docs" / "getting-started" / "first-steps-with-celery.rst"
    python = [text for kind, text in code_of(document) if kind == "python"]
    application, with_rpc = python[0], python[1]
    configured = next(text for text in python if "config_from_object" in text)
    settings = next(text for text in python if text.startswith("broker_url"))
    limited = next(text for text in python if text.startswith("task_annotations"))
    (tmp_path / "tasks.py").write_text(application.replace(app_of(application), with_rpc))
    project = Project(tmp_path, bare, {"CELERY_BROKER_URL": rabbitmq.url()})

    with project.worker("-A", "tasks", "worker", "--loglevel=INFO"):
        typed = json.loads(project.run(PROGRAMS / "typed_in.py", document).splitlines()[-1])
    assert [what for what in typed if what[0] != "result.ready()"] == [
        # There is no task of that name there.
        ["result = task.delay()", "NameError"]
    ]

    (tmp_path / "celeryconfig.py").write_text(settings + limited)
    (tmp_path / "tasks.py").write_text(
        application.replace(app_of(application), configured_app(configured))
    )
    project.run("-m", "celeryconfig")
    with project.worker("-A", "tasks", "worker", "--loglevel=INFO", "-n", "worker@example.com"):
        command = ("-m", "umbel", "--as-celery", "-A", "tasks", "control")
        printed = project.run(*command, "rate_limit", "tasks.add", "10/m")
    assert re.search(r"worker@example.com: OK\n\s+new rate limit set successfully", printed)


@pytest.mark.skipif(
    not os.environ.get("UMBEL_LONG_TESTS"), reason="takes a minute: set UMBEL_LONG_TESTS=1"
)
@pytest.mark.timeout(400)
def test_what_is_typed_in_gives_what_it_gives_with_celery(
    bare: BareInterpreter, source: Path, tmp_path: Path, redis_for_module: str
) -> None:
    program = [PROGRAMS / "typed_in.py", "celery", "proj.tasks", "--record"]
    typed = [str(each) for each in program]
    typed += [str(source / "docs" / f"{document}.rst") for document in SESSIONS]
    came: list[list[list[str]]] = []
    for number, (python, celery) in enumerate(
        ((bare.python, ("umbel", "--as-celery")), (Path(sys.executable), ("celery",)))
    ):
        folder = tmp_path / str(number)
        shutil.copytree(source / "examples" / "next-steps", folder)
        url = f"{redis_for_module.rsplit('/', 1)[0]}/{number}"
        settings = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url, "C_FORCE_ROOT": "1"}
        start = partial(subprocess.Popen, cwd=folder, env={**os.environ, **settings}, text=True)
        with (folder / "worker.log").open("w") as log:
            worker = start(
                [python, "-m", *celery, "-A", "proj", "worker", "-c", "2"], stdout=log, stderr=log
            )
            try:
                # It waits for the worker with its first result.
                session = start([python, *typed], stdout=subprocess.PIPE)
                output, _ = session.communicate(timeout=180)
            finally:
                worker.kill()
                worker.wait()
        came.append(json.loads(output.splitlines()[-1]))

    with_umbel, with_celery = came
    assert len(with_umbel) > 300
    different = {
        (document, statement): (ours, theirs)
        for (document, statement, ours), (_, _, theirs) in zip(with_umbel, with_celery, strict=True)
        if ours != theirs
    }
    assert {
        key: both
        for key, both in different.items()
        if key not in OTHERWISE and not WHO_IS_FASTER.search(key[1])
    } == {}


def app_of(application: str) -> str:
    return next(line for line in application.splitlines() if line.startswith("app ="))


def configured_app(configured: str) -> str:
    return "app = Celery('tasks')\n" + configured


def code_of(document: Path) -> Iterator[tuple[str, str]]:
    """Kind and text of the blocks of a document."""
    pattern = r"^\.\. code-block:: (\w+)\n\n((?:(?: {4}.*)?\n)+)"
    for kind, text in re.findall(pattern, document.read_text(), re.MULTILINE):
        yield kind, re.sub("^ {4}", "", text, flags=re.MULTILINE).strip() + "\n"
