"""A worker whose log is for programs: every line of it is a JSON object."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .site import Site

TASKS = """
from umbel import Umbel
from umbel.utils.log import get_task_logger

app = Umbel("shop")
logger = get_task_logger(__name__)


@app.task(name="say")
def say(word):
    logger.info("word: %s", word, extra={"word": word})
    print("printed\\n", word)


@app.task(name="fail")
def fail():
    raise KeyError("two\\nlines")
"""


@pytest.fixture
def site(make_site: Callable[[str, str], Site]) -> Site:
    return make_site("sqlite", TASKS)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_every_line_of_the_log_is_json(site: Site, tmp_path: Path, method: str) -> None:
    path = tmp_path / "lines.json"
    process = site.worker("--log-json", "-f", str(path), "-c", "1", "--pool-start-method", method)
    said = site.app.send_task("say", ("hello",))
    failed = site.app.send_task("fail")
    said.get(timeout=60)
    with pytest.raises(KeyError):
        failed.get(timeout=30)
    assert site.end(process, signal.SIGTERM) == 0

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(
        {"timestamp", "level", "logger", "message", "process", "pid"} <= line.keys()
        for line in lines
    )
    [own] = [line for line in lines if line.get("word") == "hello"]
    assert (own["task_id"], own["task_name"]) == (said.id, "say")
    assert own["logger"] == "tasks"
    printed = [line for line in lines if line["message"] in ("printed", " hello")]
    assert {line["task_id"] for line in printed} == {said.id}
    messages = [line["message"] for line in lines if line.get("task_id") == said.id]
    assert f"Task say[{said.id}] received" in messages
    assert any(message.startswith(f"Task say[{said.id}] succeeded in ") for message in messages)
    [failure] = [line for line in lines if line.get("exception")]
    assert failure["level"] == "ERROR"
    assert (failure["task_id"], failure["task_name"]) == (failed.id, "fail")
    assert failure["exception"] == repr(KeyError("two\nlines"))
    assert "in fail" in failure["traceback"]


def test_beat_writes_json_too(site: Site) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "umbel", "-q", "-A", "tasks", "beat", "-l", "INFO", "--log-json"],
        cwd=site.folder,
        env={**os.environ, "UMBEL_BROKER_URL": site.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        first = json.loads(process.stdout.readline())
        assert first["logger"].startswith("umbel.beat")
    finally:
        process.terminate()
        rest = process.communicate(timeout=30)[0]
    assert all(json.loads(line)["pid"] == process.pid for line in rest.splitlines())
