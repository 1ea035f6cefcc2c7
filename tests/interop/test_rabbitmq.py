"""One side calls over RabbitMQ, the other runs; results in Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel.testing.servers import RabbitMQServer, ServerMissing, rabbitmq_server, required


@pytest.fixture(autouse=True)
def rabbitmq(monkeypatch: pytest.MonkeyPatch) -> Iterator[RabbitMQServer]:
    """A private RabbitMQ, which programs and clients of this module use as their broker."""
    try:
        with rabbitmq_server() as server:
            monkeypatch.setenv("INTEROP_BROKER", server.url())
            yield server
    except ServerMissing as missing:
        if required("rabbitmq"):
            raise
        pytest.skip(str(missing))


def test_calls_go_both_ways(
    celery_client: Any, umbel_client: Any, start: Callable[..., Any]
) -> None:
    for caller, runner in ((celery_client, "umbel"), (umbel_client, "celery")):
        worker = start(runner)
        queue = f"{runner}-{0 if runner == 'umbel' else 1}"

        assert caller.send_task("interop.side", queue=queue).get(timeout=20) == runner
        assert caller.send_task("interop.add", (2, 2), queue=queue).get(timeout=20) == 4
        late = caller.send_task("interop.add", (2, 3), queue=queue, countdown=0.5)
        assert late.get(timeout=20) == 5
        assert caller.send_task("interop.flaky", queue=queue).get(timeout=20) == 2
        with pytest.raises(ValueError, match="no luck"):
            caller.send_task("interop.fail", ("no luck",), queue=queue).get(timeout=20)
        worker.end()


def test_two_kinds_of_workers_share_a_queue_and_run_each_task_once(
    umbel_client: Any,
    start: Callable[..., Any],
    tmp_path: Path,
    lines_of: Callable[[Path, int], list[str]],
) -> None:
    start("celery")
    start("umbel")
    path = tmp_path / "runs"

    sent = [umbel_client.send_task("interop.record", (str(path), n)) for n in range(300)]

    assert [each.get(timeout=30) for each in sent] == list(range(300))
    runs = [line.split() for line in lines_of(path, 300)]
    assert sorted(int(number) for _, number in runs) == list(range(300))
    assert {side for side, _ in runs} == {"celery", "umbel"}
