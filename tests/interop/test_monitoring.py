"""Celery's tools and Flower beside umbel's workers, umbel's tools beside Celery's, as processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import celery
import pytest
from celery.worker.control import Panel

from umbel.testing.servers import rabbitmq_server, redis_server

pytestmark = pytest.mark.timeout(600)

PROGRAMS = Path(__file__).parent / "programs"
BIN = Path(sys.executable).parent
PATIENCE = 60.0
"""Seconds anything may take here: processes start slowly when others are busy."""


class Scene(NamedTuple):
    """A broker with a worker of either side, and what programs find them by."""

    broker: str
    backend: str
    environment: dict[str, str]
    folder: Path
    workers: dict[str, subprocess.Popen[bytes]]

    def run(self, side: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of either side's command line, to its end."""
        return subprocess.run(
            [str(BIN / side), "-A", f"{side}_side", *arguments],
            cwd=PROGRAMS,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE,
            check=False,
        )

    def ask(self, side: str, kind: str, *arguments: str, timeout: float = 30.0) -> Any:
        """The replies of both workers, by node."""
        done = self.run(
            side, kind, *arguments, "--json", "-t", str(timeout), "-d", "celery@x,umbel@x"
        )
        assert done.returncode == 0, done.stderr
        [line] = [line for line in done.stdout.splitlines() if line.startswith(("{", "["))]
        replies = json.loads(line)
        # inspect gives a mapping, control a list of them.
        every = [replies] if isinstance(replies, dict) else replies
        return {node: value for reply in every for node, value in reply.items()}

    def start(self, side: str) -> None:
        """A worker of that side, with events."""
        self.workers[side] = begin(
            self.folder / f"{side}.log",
            self.environment,
            *(side, "-A", f"{side}_side", "worker", "-c", "2", "-E", "-n", f"{side}@x"),
            *("-Q", side, "-l", "INFO"),
        )

    @contextmanager
    def program(self, name: str, *command: str) -> Iterator[Path]:
        """A program that runs meanwhile; gives what it says."""
        log = self.folder / f"{name}.log"
        process = begin(log, self.environment, *command)
        try:
            yield log
        finally:
            end(process)


def begin(log: Path, environment: dict[str, str], *command: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=PROGRAMS,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(question: Callable[[], Any], what: str) -> Any:
    """What the question gives as soon as it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := question()):
        assert time.monotonic() < deadline, f"{what} has not happened"
        time.sleep(0.1)
    return answer


@pytest.fixture
def scene(stage: Scene) -> Scene:
    """Both kinds of workers on one broker, with events."""
    # One test ends them, and may be the first.
    for side in ("umbel", "celery"):
        if side not in stage.workers or stage.workers[side].poll() is not None:
            stage.start(side)
    until_ready(stage)
    return stage


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """A broker, and the workers on it until the last test."""
    with ExitStack() as stack:
        backend = stack.enter_context(redis_server()).url()
        broker = backend
        if request.param == "rabbitmq":
            broker = stack.enter_context(rabbitmq_server()).url()
        folder = tmp_path_factory.mktemp(request.param)
        environment = {
            **os.environ,
            "INTEROP_REDIS": backend,
            "INTEROP_BROKER": broker,
            "FLOWER_UNAUTHENTICATED_API": "true",
            "C_FORCE_ROOT": "true",
        }
        made = Scene(broker, backend, environment, folder, {})
        stack.callback(lambda: [end(worker) for worker in made.workers.values()])
        yield made
        for side in made.workers:
            print(f"--- {side}\n{(folder / f'{side}.log').read_text()[-4000:]}")


def until_ready(scene: Scene) -> None:
    for side, worker in scene.workers.items():
        log = scene.folder / f"{side}.log"
        try:
            until(lambda log=log: " ready." in log.read_text(), f"{side}'s start")
        except AssertionError:
            print(f"--- {log}\n{log.read_text()}")
            raise
        assert worker.poll() is None


@pytest.fixture
def client(scene: Scene) -> Iterator[celery.Celery]:
    """What sends tasks."""
    app = celery.Celery("client", broker=scene.broker, backend=scene.backend, set_as_current=False)
    yield app
    app.close()


BOTH = {"celery@x": {"ok": "pong"}, "umbel@x": {"ok": "pong"}}


@pytest.mark.parametrize("side", ["celery", "umbel"])
def test_both_command_lines_see_both_workers(scene: Scene, side: str) -> None:
    status = scene.run(side, "status", "-t", "30", "-d", "celery@x,umbel@x")

    assert status.returncode == 0, status.stderr
    assert "celery@x: OK" in status.stdout
    assert "umbel@x: OK" in status.stdout
    assert "2 nodes online." in status.stdout
    assert scene.ask(side, "inspect", "ping") == BOTH
    registered = scene.ask(side, "inspect", "registered")
    for tasks in registered.values():
        assert {"interop.add", "interop.echo"} <= {task.partition(" ")[0] for task in tasks}
    assert scene.ask(side, "control", "revoke", "a", "b").keys() == BOTH.keys()
    for ids in scene.ask(side, "inspect", "revoked").values():
        assert {"a", "b"} <= set(ids)
    for limit in scene.ask(side, "control", "rate_limit", "interop.add", "100/s").values():
        assert limit == {"ok": "new rate limit set successfully"}
    grown = scene.ask(side, "control", "pool_grow", "1")
    assert set(map(str, grown.values())) == {"{'ok': 'pool will grow'}"}
    assert scene.run(side, "inspect", "nonsense").returncode == 2
    assert scene.run(side, "status", "-t", "0.3", "-d", "nobody@x").returncode == 69


def test_how_far_a_worker_scales_can_be_changed_by_either_side(scene: Scene) -> None:
    log = scene.folder / "scaled.log"
    arguments = ("worker", "--autoscale", "2,1", "-n", "scaled@x", "-Q", "scaled", "-l", "INFO")
    worker = begin(log, scene.environment, "umbel", "-A", "umbel_side", *arguments)
    try:
        until(lambda: " ready." in log.read_text(), "the start of the worker that scales")
        for side, most, least, size in (("celery", 5, 3, 3), ("umbel", 2, 2, 2)):
            limits = (str(most), str(least))
            done = scene.run(side, "control", "-d", "scaled@x", "-t", "30", "autoscale", *limits)
            assert done.returncode == 0, done.stderr
            assert f"autoscale now max={most} min={least}" in done.stdout
            until(lambda size=size: processes(scene) == size, f"{size} processes")
    finally:
        end(worker)


def processes(scene: Scene) -> int:
    """How many the worker that scales has."""
    done = scene.run("celery", "inspect", "stats", "--json", "-d", "scaled@x", "-t", "30")
    [line] = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return len(json.loads(line)["scaled@x"]["pool"]["processes"])


def test_both_workers_say_the_same_of_themselves_in_the_same_shape(scene: Scene) -> None:
    for command in ("stats", "active_queues", "conf", "clock", "scheduled", "reserved", "report"):
        replies = scene.ask("celery", "inspect", command)

        ours, theirs = replies["umbel@x"], replies["celery@x"]
        assert type(ours) is type(theirs), command
        if command == "stats":
            assert set(theirs) <= set(ours)
            assert set(theirs["pool"]) <= set(ours["pool"])
            assert set(theirs["broker"]) <= set(ours["broker"])
            assert set(theirs["rusage"]) == set(ours["rusage"])
        if command == "active_queues":
            assert set(theirs[0]) == set(ours[0])
            assert set(theirs[0]["exchange"]) == set(ours[0]["exchange"])


def test_what_runs_is_shown_in_the_same_shape(scene: Scene, client: Any) -> None:
    sent = [
        client.send_task("interop.sleep", (60,), {}, queue=side, task_id=f"long-{side}")
        for side in ("umbel", "celery")
    ]
    until(lambda: len(actives(scene)) == 2, "the start of both tasks")

    found = actives(scene)
    ours, theirs = found["umbel@x"], found["celery@x"]
    assert set(theirs) == set(ours)
    assert (ours["id"], ours["name"]) == ("long-umbel", "interop.sleep")
    assert (ours["args"], ours["kwargs"]) == ([60], {})
    query = scene.ask("celery", "inspect", "query_task", "long-umbel", "long-celery")
    assert query["umbel@x"]["long-umbel"][0] == query["celery@x"]["long-celery"][0] == "active"
    for side in ("celery", "umbel"):
        other = {"celery": "umbel", "umbel": "celery"}[side]
        replies = scene.ask(side, "control", "terminate", "SIGTERM", f"long-{other}")
        assert replies[f"{other}@x"] == {"ok": f"terminate: long-{other}"}
    until(lambda: all(each.state == "REVOKED" for each in sent), "the end of both tasks")


ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "active": [{}, {"safe": True}],
    "add_consumer": [{"queue": "extra"}, {}],
    "autoscale": [{"max": 3, "min": 1}],
    "cancel_consumer": [{"queue": "extra"}],
    "conf": [{}, {"with_defaults": True}],
    "hello": [{"from_node": "other@x", "revoked": {}}],
    "memdump": [{}, {"samples": 2}],
    "pool_grow": [{}],
    "pool_shrink": [{}],
    "query_task": [{"ids": ["shaped-umbel", "shaped-celery", "nobody"]}, {"ids": []}],
    "rate_limit": [
        {"task_name": "interop.add", "rate_limit": "9/s"},
        {"task_name": "interop.add", "rate_limit": 0},
        {"task_name": "no.such", "rate_limit": "9/s"},
    ],
    "registered": [{}, {"taskinfoitems": ["max_retries"]}],
    "revoke": [{"task_id": "a"}, {"task_id": ["b"]}, {"task_id": "a", "terminate": True}],
    "revoke_by_stamped_headers": [{"headers": {"mon": "x"}}],
    "terminate": [{"signal": "TERM", "task_id": "nobody"}],
    "time_limit": [
        {"task_name": "interop.add", "soft": 5, "hard": 9},
        {"task_name": "no.such", "soft": 5},
    ],
}
"""What commands are called with; the others with nothing."""
LEFT_OUT = {
    "election": "ends a worker of Celery's that is alone",
    "objgraph": "needs a library that is not here",
    "shutdown": "has a test of its own",
}
OTHERWISE = {
    "report": "it is another program",
    "disable_events": "Celery's -E cannot be taken back",
    "enable_events": "so there is nothing to give again",
}
"""Commands whose replies have the same shape, but not the same words."""
FREE = {"conf", "stats.total", "hello.revoked"}
"""Mappings whose keys are data."""


def shape(value: Any, path: str) -> Any:
    """Keys and kinds; None is of any kind, and what differs by nature is left out."""
    if isinstance(value, dict):
        if path in FREE:
            return "mapping"
        if path == "query_task":
            return [shape(each, "query_task[id]") for each in value.values()]
        return {name: shape(each, f"{path}.{name}") for name, each in value.items()}
    if isinstance(value, list):
        return [shape(value[0], path)] if value else []
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else "text"


def differences(ours: Any, theirs: Any, path: str) -> Iterator[str]:
    """Where Celery's reply has what ours has not, or of another kind."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        yield from (f"{path}.{name} is missing" for name in theirs.keys() - ours.keys())
        for name in theirs.keys() & ours.keys():
            yield from differences(ours[name], theirs[name], f"{path}.{name}")
    elif isinstance(theirs, list) and isinstance(ours, list):
        if ours and theirs:
            yield from differences(ours[0], theirs[0], f"{path}[]")
    elif ours != theirs and "NoneType" not in (ours, theirs):
        yield f"{path} is {ours}, not {theirs}"


def test_every_command_is_answered_in_celerys_shape(scene: Scene, client: Any) -> None:
    for side in ("umbel", "celery"):
        client.send_task("interop.sleep", (90,), queue=side, task_id=f"shaped-{side}")
        client.send_task("interop.add", (1, 2), queue=side, countdown=600)
    until(lambda: len(actives(scene)) == 2, "the start of both tasks")
    wrong: list[str] = []
    for name in sorted(Panel.meta.keys() - LEFT_OUT.keys()):
        for arguments in ARGUMENTS.get(name, [{}]):
            replies = client.control.broadcast(
                name, arguments, reply=True, timeout=PATIENCE, limit=2, destination=[*BOTH]
            )
            found = {node: reply for each in replies for node, reply in each.items()}
            ours, theirs = found["umbel@x"], found["celery@x"]
            wrong += differences(shape(ours, name), shape(theirs, name), name)
            words = {"ok", "error"}
            if isinstance(theirs, dict) and theirs.keys() & words:
                same = ours == theirs if "ok" in theirs else ours.keys() == theirs.keys()
                if not same and name not in OTHERWISE:
                    wrong.append(f"{name}({arguments}): {ours}, not {theirs}")
    assert not wrong, "\n".join(wrong)
    for side in ("umbel", "celery"):
        client.control.terminate(f"shaped-{side}")
    until(lambda: not actives(scene), "the end of both tasks")


def actives(scene: Scene) -> dict[str, Any]:
    replies = scene.ask("umbel", "inspect", "active")
    return {node: tasks[0] for node, tasks in replies.items() if tasks}


@pytest.mark.parametrize("side", ["celery", "umbel"])
def test_both_dumps_show_the_events_of_both_workers(scene: Scene, client: Any, side: str) -> None:
    id_ = f"told-by-{side}"
    with scene.program(f"dump-{side}", side, "-A", f"{side}_side", "events", "--dump") as log:
        until(lambda: log.read_text().count("heartbeat") >= 2, "the first heartbeats")
        for worker in ("umbel", "celery"):
            client.send_task("interop.add", (2, 3), queue=worker, task_id=f"{id_}-{worker}")
            client.send_task("interop.fail", ("no luck",), queue=worker)
        lines = until(lambda: complete(log, f"{id_}-umbel", f"{id_}-celery"), "the last event")

    for worker in ("umbel", "celery"):
        of = [line for line in lines if f"interop.add({id_}-{worker})" in line]
        assert [word(line) for line in of] == ["task received", "task started", "task succeeded"]
        assert of[0].startswith(f"{worker}@x [")
        assert "args=(2, 3) kwargs={}" in of[0]
        assert "result=5" in of[2]


def complete(log: Path, *ids: str) -> list[str] | None:
    lines = log.read_text().splitlines()
    done = [line for line in lines if "task succeeded" in line]
    return lines if all(any(id_ in line for line in done) for id_ in ids) else None


def word(line: str) -> str:
    return line.partition("] ")[2].partition(":")[0]


class Flower:
    """The real one, through its HTTP API."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}/api"

    def get(self, path: str) -> Any:
        return self._ask(path, None)

    def post(self, path: str, **values: str) -> Any:
        return self._ask(path, urllib.parse.urlencode(values).encode())

    def _ask(self, path: str, data: bytes | None) -> Any:
        try:
            with urllib.request.urlopen(f"{self.address}{path}", data, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error} {error.read()[:300]!r}") from error

    def knows_both(self) -> bool:
        try:
            unknown = BOTH.keys() - self.get("/workers").keys()
            return all(self.get(f"/workers?refresh=1&workername={node}") for node in unknown)
        except (OSError, AssertionError):
            return False


@pytest.fixture(scope="module")
def started_flower(stage: Scene) -> Iterator[Flower]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ("celery", "-A", "celery_side", "flower", f"--port={port}", "--address=127.0.0.1")
    with stage.program("flower", *command) as log:
        made = Flower(port)
        yield made
        print(f"--- flower\n{log.read_text()[-3000:]}")


@pytest.fixture
def flower(scene: Scene, started_flower: Flower) -> Flower:
    # It asks the workers while it starts; who is too busy to answer then is asked again.
    until(started_flower.knows_both, "Flower's acquaintance with both workers")
    return started_flower


def test_flower_shows_workers_and_tasks(scene: Scene, client: Any, flower: Flower) -> None:
    worker = flower.get("/workers?refresh=1&workername=umbel@x")["umbel@x"]
    assert worker["stats"]["pool"]["max-concurrency"] >= 2
    assert len(worker["stats"]["pool"]["processes"]) >= 2
    assert [queue["name"] for queue in worker["active_queues"]] == ["umbel"]
    assert "interop.add" in {task.partition(" ")[0] for task in worker["registered"]}

    good = client.send_task("interop.add", (2, 3), queue="umbel")
    bad = client.send_task("interop.fail", ("no luck",), queue="umbel")
    tasks = until(lambda: ended(flower, good.id, bad.id), "the tasks' end in Flower")

    shown = tasks[good.id]
    assert (shown["name"], shown["state"], shown["worker"]) == ("interop.add", "SUCCESS", "umbel@x")
    assert (shown["args"], shown["result"]) == ("(2, 3)", "5")
    assert shown["runtime"] >= 0
    assert shown["received"] <= shown["started"] <= shown["succeeded"]
    assert tasks[bad.id]["state"] == "FAILURE"
    assert "no luck" in tasks[bad.id]["exception"]
    assert "Traceback" in flower.get(f"/task/info/{bad.id}")["traceback"]
    assert flower.get(f"/task/result/{good.id}")["result"] == 5


def ended(flower: Flower, *ids: str) -> dict[str, Any] | None:
    tasks = flower.get("/tasks")
    done = [tasks.get(id_, {}).get("state") in {"SUCCESS", "FAILURE", "REVOKED"} for id_ in ids]
    return tasks if all(done) else None


def test_flower_steers_workers(scene: Scene, client: Any, flower: Flower) -> None:
    flower.get("/workers?refresh=1&workername=umbel@x")
    long = client.send_task("interop.sleep", (60,), queue="umbel")
    until(
        lambda: flower.get("/tasks").get(long.id, {}).get("state") == "STARTED", "the task's start"
    )

    flower.post(f"/task/revoke/{long.id}", terminate="true")
    until(lambda: ended(flower, long.id), "the task's end in Flower")
    assert flower.get(f"/task/info/{long.id}")["state"] == "REVOKED"
    flower.post("/task/rate-limit/interop.add", workername="umbel@x", ratelimit="50/s")
    flower.post("/task/timeout/interop.add", workername="umbel@x", soft="50", hard="90")
    size = scene.ask("umbel", "inspect", "stats")["umbel@x"]["pool"]["max-concurrency"]
    flower.post("/worker/pool/grow/umbel@x", n="1")
    until(
        lambda: scene.ask("umbel", "inspect", "stats")["umbel@x"]["pool"]["max-concurrency"] > size,
        "the growth of the pool",
    )
    flower.post("/worker/pool/shrink/umbel@x", n="1")
    flower.post("/worker/queue/add-consumer/umbel@x", queue="more")
    assert client.send_task("interop.add", (1, 1), queue="more").get(timeout=PATIENCE) == 2
    flower.post("/worker/queue/cancel-consumer/umbel@x", queue="more")


def test_each_side_ends_the_others_worker(scene: Scene, flower: Flower) -> None:
    flower.post("/worker/shutdown/umbel@x")
    assert scene.workers["umbel"].wait(PATIENCE) == 0

    scene.run("umbel", "control", "shutdown", "-d", "celery@x", "-t", "0.2")
    assert scene.workers["celery"].wait(PATIENCE) == 0
