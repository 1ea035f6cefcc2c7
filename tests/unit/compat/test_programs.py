"""``celery.apps`` and ``celery.bin.multi`` for programs, beside Celery's own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery.apps.multi as celerys
import pytest

import umbel
from tests.unit.compat.peer import StandIn
from umbel.cli import cluster as ours

MODULES = {"ours": ours, "theirs": celerys}


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    # As its own parent would do: else it stays in the table of processes.
    reaper = threading.Thread(target=process.wait)
    reaper.start()
    yield process
    process.kill()
    reaper.join()


def _node(module: Any, folder: Path, name: str = "a@host", **more: str) -> Any:
    options = {
        "--pidfile": str(folder / "%n.pid"),
        "--logfile": str(folder / "%n%I.log"),
        **{f"--{key}": value for key, value in more.items()},
    }
    return module.Node(name, cmd="-m celery worker --detach", options=options)


def test_a_node_is_what_celerys_is(tmp_path: Path) -> None:
    told = {}
    for who, module in MODULES.items():
        node = _node(module, tmp_path, concurrency="3")
        down: list[Any] = []
        told[who] = (
            *(node.name, repr(node), node.pidfile, node.executable, node.pid),
            *(node.expander("%n %d %h %N"), node.getopt("-c", "--concurrency"), node.getopt("-n")),
            *(node.alive(), node.send(0, down.append), down == [node]),
        )
        words = " ".join(node.argv_with_executable).split()
        assert {"-n", "a@host", "--concurrency=3", "worker", "--detach"} <= set(words)
        with pytest.raises(KeyError, match="--queues"):
            node.getopt("--queues", "-Q")
        by_name = module.Node.from_kwargs("b@h", pidfile="x.pid", logfile="x.log", c="2")
        told[who] += (by_name.getopt("-c"), by_name.pidfile)

    assert told["ours"] == told["theirs"]


def test_a_command_that_ends_badly_is_told(tmp_path: Path) -> None:
    told = {who: _ended(_node(module, tmp_path)) for who, module in MODULES.items()}

    assert told["ours"] == told["theirs"] == [0, 9, 3, ("signal", 9), ("code", 3)]


def _ended(node: Any) -> list[Any]:
    seen: list[Any] = []

    def tell(kind: str) -> Any:
        return lambda _node, number: seen.append((kind, number))

    codes = [node.handle_process_exit(code, tell("signal"), tell("code")) for code in (0, -9, 3)]
    return codes + seen


@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_a_cluster_tells_what_it_does_as_celerys_does(
    who: str, tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    module = MODULES[who]
    told: list[Any] = []
    nodes = [_node(module, tmp_path, name) for name in ("up@h", "down@h")]
    (tmp_path / "up.pid").write_text(f"{sleeper.pid}\n")

    def tell(what: str) -> Any:
        return lambda *args: told.append((what, *(getattr(a, "name", a) for a in args)))

    quiet = {"on_still_waiting_progress", "on_still_waiting_for", "on_stopping_preamble"}
    names = (
        *("on_send_signal", "on_still_waiting_end", "on_node_shutdown_ok", "on_node_down"),
        *("on_node_signal", "on_node_signal_dead"),
    )
    cluster = module.Cluster(
        nodes, **{name: tell(name) for name in names}, **dict.fromkeys(quiet, lambda *_: None)
    )
    cluster.send_all(signal.SIGCONT)
    cluster.stopwait(retry=0.05)

    assert repr(cluster) == "<Cluster(2): ['up@h', 'down@h']>"
    assert cluster.find("up@h") is nodes[0]
    assert [node.name for node in cluster] == ["up@h", "down@h"]
    assert told == [
        ("on_node_signal", "up@h", "CONT"),
        ("on_node_down", "down@h"),
        ("on_node_down", "down@h"),
        ("on_send_signal", "up@h", "TERM"),
        ("on_node_shutdown_ok", "up@h"),
        ("on_node_down", "up@h"),
        ("on_still_waiting_end",),
    ]


def test_nodes_are_started_with_their_environment(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import os, sys; sys.exit(int(os.environ['CODE']))")
    spawned: list[str] = []
    node = ours.Node("a@h", cmd=str(program), options={"--pidfile": "p", "--logfile": "l"})
    cluster = ours.Cluster(
        [node],
        env={**os.environ, "CODE": "5"},
        on_child_spawn=lambda node, argstr, env: spawned.append(argstr),
    )

    assert cluster.start() == [5]
    assert spawned == [" ".join(node.argv_with_executable)]


def test_the_program_for_several_workers_prints_where_it_is_told(tmp_path: Path) -> None:
    tool = StandIn("celery.bin.multi").MultiTool
    out, err = io.StringIO(), io.StringIO()

    assert (
        tool(stdout=out, stderr=err).execute_from_commandline(
            ["celery multi", "names", "2", "-n", "h"]
        )
        == 0
    )
    assert out.getvalue() == "celery1@h\ncelery2@h\n"
    assert tool(stdout=out, stderr=err).execute_from_commandline(["multi", "nonsense"]) == 1
    assert "Invalid command: nonsense" in err.getvalue()
    shown = io.StringIO()
    tool(fh=shown, cmd="-m proj worker").execute_from_commandline(
        ["multi", "show", "a@h", "--pidfile=p", "--logfile=l"]
    )
    assert "-m proj worker" in shown.getvalue()


_BEAT = """
import umbel
from umbel.cli.beat import Beat
app = umbel.Celery("b", broker="memory://", set_as_current=False)
app.conf.beat_schedule = {}
Beat(app=app, loglevel="INFO", pidfile="beat.pid", schedule="s", socket_timeout=3).run()
print("ended")
"""


def test_a_scheduler_runs_as_a_program_until_it_is_told_to_end(tmp_path: Path) -> None:
    assert (
        StandIn("celery.apps.beat").Beat(app=umbel.Celery("b", set_as_current=False)).quiet is False
    )
    process = subprocess.Popen(
        [sys.executable, "-c", _BEAT],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert "umbel beat v" in next(line for line in lines if "beat v" in line)
        assert any("beat: Starting..." in line for line in lines)
        assert (tmp_path / "beat.pid").read_text() == f"{process.pid}\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert "ended\n" in list(lines)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    assert not (tmp_path / "beat.pid").exists()


_DETACHING = """
import os, sys
from umbel.compat.bin.detaching import detach
sys.exit(detach({program!r}, ["-c", "open('said', 'w').write('it runs')"], {log!r}, hostname="w@h"))
"""


@pytest.mark.skipif(os.name == "nt", reason="forks")
@pytest.mark.parametrize("program", [sys.executable, "/no/such/program"])
def test_a_program_takes_the_place_of_this_one_in_the_background(
    program: str, tmp_path: Path
) -> None:
    log = str(tmp_path / "%n.log")
    code = subprocess.run(
        [sys.executable, "-c", _DETACHING.format(program=program, log=log)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        timeout=100,
        check=False,
    ).returncode

    expected = tmp_path / ("said" if program == sys.executable else "w.log")
    until = time.monotonic() + 60
    while not (expected.exists() and expected.read_text()) and time.monotonic() < until:
        time.sleep(0.02)
    assert code == 0
    assert ("it runs" if program == sys.executable else "Can't exec") in expected.read_text()


def test_a_scheduler_can_be_given_ears_by_hand() -> None:
    app = umbel.Celery("ears", broker="memory://ears", backend="memory://ears")
    module = StandIn("celery.beat")
    service = module.Service(app, max_interval=7, hostname="ears@h")
    node = module.BeatPidbox(service)
    service.look()
    node.start()
    try:
        until = time.monotonic() + 60
        answers: Any = []
        while not answers and time.monotonic() < until:
            answers = app.control.ping(timeout=0.3)
        assert answers == [{"ears@h": {"ok": "pong"}}]
        assert (node.is_stale(), node.max_tick_age, node.hostname) == (False, 60.0, "ears@h")
        assert 0 <= node.tick_age() < 60
    finally:
        node.stop()
        app.close()
