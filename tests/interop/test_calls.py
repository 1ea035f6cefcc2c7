"""One side calls, the other runs, the caller reads the result with what it always uses."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

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
        assert sent.get(timeout=20) == 4, serializer

        sent = client.send_task("interop.echo", ARGUMENTS, KEYWORDS, serializer=serializer)
        assert sent.get(timeout=20) == [list(ARGUMENTS), KEYWORDS], serializer


@BOTH_WAYS
def test_compressed_messages_are_read(client: Any, worker: str) -> None:
    text = "a long story, " * 10_000

    for compression in ("gzip", "bzip2"):
        sent = client.send_task("interop.echo", (text,), compression=compression)
        assert sent.get(timeout=20) == [[text], {}], compression


@BOTH_WAYS
def test_values_beyond_plain_json_survive_in_json(client: Any, worker: str) -> None:
    moment = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)

    sent = client.send_task("interop.echo", (moment, moment.date()))

    assert sent.get(timeout=20) == [[moment, moment.date()], {}]


@BOTH_WAYS
def test_an_exception_arrives_as_itself(client: Any, worker: str) -> None:
    sent = client.send_task("interop.fail", ("no such thing",))

    with pytest.raises(ValueError, match="no such thing"):
        sent.get(timeout=20)
    assert sent.state == "FAILURE"
    assert "raise ValueError(text)" in sent.traceback


@BOTH_WAYS
def test_a_retried_task_ends_with_what_its_last_attempt_returns(client: Any, worker: str) -> None:
    sent = client.send_task("interop.flaky")

    assert sent.get(timeout=20) == 2


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

    assert counted.get(timeout=20) == worker
    assert dated.get(timeout=20) == worker
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

    assert client.send_task("interop.add", (1, 1)).get(timeout=20) == 2
    with pytest.raises(Exception, match="expired"):
        stale.get(timeout=20)
    assert not trace.exists()


@FROM_CELERY
def test_the_old_task_protocol_is_read(client: Any) -> None:
    client.conf.task_protocol = 1

    assert client.send_task("interop.add", (20, 22)).get(timeout=20) == 42
    assert client.send_task("interop.flaky").get(timeout=20) == 2


@FROM_CELERY
def test_celerys_signatures_run_their_callbacks_on_umbel(client: Any) -> None:
    add = client.signature("interop.add", (1, 2))
    more = client.signature("interop.add", (10,))

    assert (add | more | more.clone()).apply_async().get(timeout=20) == 23
