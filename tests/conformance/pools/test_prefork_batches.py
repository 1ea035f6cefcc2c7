"""Which child gets how many requests, and what is handed back."""

from __future__ import annotations

from collections.abc import Callable

from umbel.model import Failed, Message, Request, Succeeded
from umbel.testing.conformance.pool import (
    ContractRunner,
    Gate,
    MakePool,
    collect,
    feed,
    request,
)

from .prefork import Forked


class TestBatches(Forked):
    async def test_a_long_task_holds_nothing_behind_it(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=2)
        await feed(pool, [request(key) for key in range(200)])
        assert pool.free > 100

        holding = request(1000, "hold", gate.body)
        await pool.submit([holding, *(request(key) for key in range(100))])
        found = await collect(pool, 100)
        gate.open()
        rest = await collect(pool, 1)

        assert set(found) == set(range(100))
        assert set(rest) == {1000}

    async def test_what_has_finished_does_not_wait_for_a_long_task(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=1)
        await feed(pool, [request(key) for key in range(200)])

        await pool.submit([request(1), request(2), request(3, "hold", gate.body), request(4)])
        found = await collect(pool, 2)
        gate.open()
        rest = await collect(pool, 2)

        assert set(found) == {1, 2}
        assert set(rest) == {3, 4}

    async def test_long_tasks_go_to_idle_children_only(
        self, make_pool: MakePool, gate: Gate
    ) -> None:
        pool = await make_pool(ContractRunner, size=2)
        await feed(pool, [request(key, "busy", b"0.03") for key in range(4)])

        assert pool.free == 2
        await pool.submit([request(10, "hold", gate.body)])
        await gate.reached(1)
        assert pool.free == 1
        await pool.submit([request(11, "hold", gate.body)])
        await gate.reached(2)
        assert pool.free == 0
        gate.open()

        assert len(await collect(pool, 2)) == 2

    async def test_prefetch_bounds_what_a_child_holds(
        self, make_pool: Callable[..., object]
    ) -> None:
        pool = await make_pool(ContractRunner, size=2, prefetch=3)  # type: ignore[misc]
        await feed(pool, [request(key) for key in range(500)])

        assert pool.free == 6

    async def test_a_failed_outcome_names_what_could_not_be_encoded(
        self, make_pool: MakePool
    ) -> None:
        pool = await make_pool(ContractRunner)

        found = await feed(pool, [request(1, "strange")])

        failure = found[1]
        assert isinstance(failure, Failed)
        assert failure.reason.startswith("cannot be encoded")
        assert "Unencodable" in failure.reason

    async def test_a_request_that_cannot_be_encoded_fails_alone(self, make_pool: MakePool) -> None:
        pool = await make_pool(ContractRunner)
        message = Message(id="x", body=b"", properties={"x": object()})

        await pool.submit([request(1), Request(key=2, id="x", task="echo", message=message)])
        found = await collect(pool, 2)

        assert isinstance(found[1], Succeeded)
        assert isinstance(found[2], Failed)
