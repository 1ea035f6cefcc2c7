"""One side calls, the other runs, the caller reads the result with what it always uses."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import celery
import kombu.compression
import pytest

import umbel

WAYS = [("celery", "umbel"), ("umbel", "celery"), ("umbel", "umbel")]
BOTH_WAYS = pytest.mark.parametrize(
    ("client", "worker"),
    [(way, way[1]) for way in WAYS],
    indirect=["client"],
    ids=[f"{caller}-calls-{runner}" for caller, runner in WAYS],
)
FROM_CELERY = pytest.mark.parametrize("client", [("celery", "umbel")], indirect=True)
ARGUMENTS = (1, -2.5, "zwölf ☃", None, True, [1, [2, {"three": 3}]])
KEYWORDS = {"name": "ö", "deep": {"a": [{"b": 1}]}, "big": 2**60}


@BOTH_WAYS
def test_every_serializer_carries_arguments_and_the_result_comes_back(
    client: Any, worker: str
) -> None:
    for serializer in ("json", "yaml", "msgpack", "pickle"):
        sent = client.send_task("interop.add", (2, 2), serializer=serializer)
        assert sent.get(timeout=60) == 4, serializer

        sent = client.send_task("interop.echo", ARGUMENTS, KEYWORDS, serializer=serializer)
        assert sent.get(timeout=60) == [list(ARGUMENTS), KEYWORDS], serializer


@BOTH_WAYS
def test_compressed_messages_are_read(client: Any, worker: str) -> None:
    text = "a long story, " * 10_000

    both_know = {"gzip", "bzip2", "lzma", "zstd", "brotli"} & set(kombu.compression.encoders())
    for compression in both_know:
        sent = client.send_task("interop.echo", (text,), compression=compression)
        assert sent.get(timeout=60) == [[text], {}], compression


@BOTH_WAYS
def test_values_beyond_plain_json_survive_in_json(client: Any, worker: str) -> None:
    moment = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)

    sent = client.send_task("interop.echo", (moment, moment.date()))

    assert sent.get(timeout=60) == [[moment, moment.date()], {}]


@BOTH_WAYS
def test_an_exception_arrives_as_itself(client: Any, worker: str) -> None:
    sent = client.send_task("interop.fail", ("no such thing",))

    with pytest.raises(ValueError, match="no such thing"):
        sent.get(timeout=60)
    assert sent.state == "FAILURE"
    assert "raise ValueError(text)" in sent.traceback


@BOTH_WAYS
def test_a_retried_task_ends_with_what_its_last_attempt_returns(client: Any, worker: str) -> None:
    sent = client.send_task("interop.flaky")

    assert sent.get(timeout=60) == 2


@BOTH_WAYS
def test_a_task_with_a_countdown_or_an_eta_runs_when_it_is_due(
    client: Any, worker: str, tmp_path: Any
) -> None:
    trace = tmp_path / "trace"
    begin = time.time()

    counted = client.send_task("interop.slow", (str(trace), 0), countdown=1.5)
    dated = client.send_task(
        "interop.slow", (str(trace), 0), eta=datetime.now(UTC) + timedelta(seconds=2)
    )

    assert counted.get(timeout=60) == worker
    assert dated.get(timeout=60) == worker
    starts = [float(line.split()[2]) for line in trace.read_text().splitlines() if "begin" in line]
    assert len(starts) == 2
    assert begin + 1.4 < starts[0] < begin + 4
    assert begin + 1.9 < starts[1] < begin + 5


@pytest.mark.parametrize(("caller", "worker"), WAYS)
def test_an_expired_task_does_not_run(
    caller: str,
    worker: str,
    request: pytest.FixtureRequest,
    start: Callable[..., Any],
    tmp_path: Path,
) -> None:
    client = request.getfixturevalue(f"{caller}_client")
    trace = tmp_path / "trace"
    stale = client.send_task("interop.slow", (str(trace), 0), expires=0.2)
    time.sleep(0.3)

    start(worker)

    assert client.send_task("interop.add", (1, 1)).get(timeout=60) == 2
    with pytest.raises(Exception, match="expired"):
        stale.get(timeout=60)
    assert not trace.exists()


@FROM_CELERY
def test_the_old_task_protocol_is_read(client: Any) -> None:
    client.conf.task_protocol = 1

    assert client.send_task("interop.add", (20, 22)).get(timeout=60) == 42
    assert client.send_task("interop.flaky").get(timeout=60) == 2


def sig(client: Any, name: str, *args: Any, **options: Any) -> Any:
    return client.signature(f"interop.{name}", args, **options)


def canvas_of(client: Any) -> Any:
    return umbel if isinstance(client, umbel.Umbel) else celery


@BOTH_WAYS
def test_headers_priorities_and_lineage_arrive(client: Any, worker: str) -> None:
    sent = client.send_task("interop.about", headers={"mine": "ä"}, priority=3)

    about = sent.get(timeout=60)

    assert about["mine"] == "ä"
    assert about["priority"] == 3
    assert about["routing_key"] == client.conf.task_default_queue
    assert about["root_id"] == sent.id
    assert about["group"] is None
    assert about["origin"].startswith("gen")


@BOTH_WAYS
def test_states_of_its_own_are_seen_on_the_way(client: Any, worker: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    sent = client.send_task("interop.staged", (str(go),))
    until(lambda: sent.state == "PROGRESS", sent)

    assert sent.info == {"done": 1, "of": 2}
    go.touch()

    assert sent.get(timeout=60) == "done"


@BOTH_WAYS
def test_a_task_that_is_to_be_retried_says_so(client: Any, worker: str) -> None:
    seen = set()
    sent = client.send_task("interop.flaky")
    until(lambda: seen.add(sent.state) or sent.ready(), sent)

    assert sent.get(timeout=60) == 2
    assert seen <= {"PENDING", "RETRY", "SUCCESS"}


@BOTH_WAYS
def test_a_task_without_a_result_leaves_none(client: Any, worker: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    quiet = [
        client.send_task("interop.quiet", (str(trace),)),
        client.send_task("interop.add", (1, 1), ignore_result=True),
    ]

    assert client.send_task("interop.add", (2, 2)).get(timeout=60) == 4
    until(trace.exists, quiet[0])
    assert [sent.state for sent in quiet] == ["PENDING", "PENDING"]


@BOTH_WAYS
def test_callbacks_and_error_callbacks_are_run(client: Any, worker: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    plus_ten = sig(client, "add", 10)

    sent = sig(client, "add", 1, 2).apply_async(link=plus_ten)
    failed = sig(client, "fail", "no luck").apply_async(link_error=sig(client, "mourn", str(trace)))

    assert sent.get(timeout=60) == 3
    until(lambda: bool(sent.children) and sent.children[0].ready(), sent)
    assert sent.children[0].get(timeout=60) == 13
    with pytest.raises(ValueError, match="no luck"):
        failed.get(timeout=60)
    until(lambda: trace.exists() and trace.read_text().endswith("\n"), failed)
    assert trace.read_text().splitlines() == [f"{failed.id} ValueError no luck"]


@BOTH_WAYS
def test_workflows_of_every_kind_come_to_the_same(client: Any, worker: str) -> None:
    canvas = canvas_of(client)

    def add(*args: float) -> Any:
        return sig(client, "add", *args)

    total = sig(client, "total")
    kinds = {
        "chain": (canvas.chain(add(1, 2), add(10), add(100)), 113),
        "group": (canvas.group([add(n, n) for n in range(5)]), [0, 2, 4, 6, 8]),
        "chord": (canvas.chord([add(n, n) for n in range(5)], total, app=client), 20),
        "group to chord": (canvas.group([add(n, 1) for n in range(4)], app=client) | total, 10),
        "chain of groups": (
            add(1, 1) | canvas.group([add(n) for n in range(3)], app=client) | total | add(1000),
            1009,
        ),
        "chord in a chord": (
            canvas.chord(
                [canvas.chord([add(n, m) for m in range(3)], total, app=client) for n in range(3)],
                total.clone(),
                app=client,
            ),
            18,
        ),
    }

    sent = {name: workflow.apply_async() for name, (workflow, _) in kinds.items()}

    got = {name: outcome(result) for name, result in sent.items()}
    assert got == {name: expected for name, (_, expected) in kinds.items()}


@BOTH_WAYS
def test_a_member_that_fails_ends_its_chord_with_an_error(client: Any, worker: str) -> None:
    canvas = canvas_of(client)
    header = [sig(client, "add", 1, 1), sig(client, "fail", "no luck"), sig(client, "add", 2, 2)]

    sent = canvas.chord(header, sig(client, "total"), app=client).apply_async()

    with pytest.raises(Exception, match="no luck"):
        sent.get(timeout=30)
    # The error was the parent's, perhaps: the body's follows.
    until(lambda: sent.state == "FAILURE", sent)


def outcome(result: Any) -> Any:
    """What it comes to; an error that says what, so that all kinds are seen."""
    try:
        return result.get(timeout=60)
    except Exception as error:
        return repr(error)


def until(holds: Callable[[], object], sent: Any) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"{sent} is {sent.state}"
        time.sleep(0.03)
