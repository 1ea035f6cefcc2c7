"""The code in Celery's documents, as its source distribution has it, works under the alias."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bare import BareInterpreter, Project
from umbel.testing.servers import RabbitMQServer, ServerMissing, rabbitmq_server, required

pytestmark = pytest.mark.slow

PROGRAMS = Path(__file__).parent / "programs"

MISSING = {
    # Tasks are made at once here: none waits for its app.
    "userguide/application.rst: add.__evaluated__",
    # The worker is built otherwise; see "Coming from Celery".
    "userguide/extending.rst: celery.bootsteps",
    "userguide/extending.rst: kombu.Consumer",
    "userguide/extending.rst: task.start_strategy",
    # Results are read through the app.
    "getting-started/first-steps-with-celery.rst: result.backend",
}
"""What the documents use and the alias does not have, by document. This set only gets smaller."""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BareInterpreter:
    return BareInterpreter(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQServer]:
    try:
        with rabbitmq_server() as server:
            yield server
    except ServerMissing as missing:
        if required("rabbitmq"):
            raise
        pytest.skip(str(missing))


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
    assert set(json.loads(with_umbel)) - set(json.loads(with_celery)) == MISSING


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


def app_of(application: str) -> str:
    return next(line for line in application.splitlines() if line.startswith("app ="))


def configured_app(configured: str) -> str:
    return "app = Celery('tasks')\n" + configured


def code_of(document: Path) -> Iterator[tuple[str, str]]:
    """Kind and text of the blocks of a document."""
    pattern = r"^\.\. code-block:: (\w+)\n\n((?:(?: {4}.*)?\n)+)"
    for kind, text in re.findall(pattern, document.read_text(), re.MULTILINE):
        yield kind, re.sub("^ {4}", "", text, flags=re.MULTILINE).strip() + "\n"
