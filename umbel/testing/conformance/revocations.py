"""What a broker that keeps revocations must pass."""

from __future__ import annotations

from umbel.model import Revocation
from umbel.protocols import Broker, KeepsRevocations, RevocationStore
from umbel.testing.conformance.broker import MakeBroker

__all__ = ["RevocationContract"]


def store_of(broker: Broker) -> RevocationStore:
    """Where the broker keeps them."""
    assert isinstance(broker, KeepsRevocations)
    return broker.revocations


def ids(*names: str) -> list[Revocation]:
    """Revocations of task ids."""
    return [Revocation(id=name) for name in names]


class RevocationContract:
    """Fixtures to give: ``make_broker``."""

    async def test_whoever_comes_later_learns_what_was_revoked_in_order(
        self, make_broker: MakeBroker
    ) -> None:
        stamp = Revocation(header="tenant", value="früh & spät")
        await store_of(await make_broker()).add([*ids("a", "b"), stamp], keep=10)

        found, _ = await store_of(await make_broker()).since(0)

        assert found == [*ids("a", "b"), stamp]

    async def test_a_mark_separates_what_is_new_from_what_is_known(
        self, make_broker: MakeBroker
    ) -> None:
        writer, reader = store_of(await make_broker()), store_of(await make_broker())
        assert await reader.since(0) == ([], 0)
        await writer.add(ids("a"), keep=10)
        _, mark = await reader.since(0)
        await writer.add(ids("b", "c"), keep=10)

        found, later = await reader.since(mark)

        assert found == ids("b", "c")
        assert await reader.since(later) == ([], later)

    async def test_the_oldest_go_when_there_are_too_many(self, make_broker: MakeBroker) -> None:
        store = store_of(await make_broker())
        await store.add(ids("a", "b", "c"), keep=3)
        await store.add(ids("a"), keep=3)
        await store.add(ids("d"), keep=3)

        found, _ = await store.since(0)

        assert found == ids("c", "a", "d")

    async def test_adding_none_does_nothing(self, make_broker: MakeBroker) -> None:
        store = store_of(await make_broker())
        await store.add([], keep=3)

        assert await store.since(0) == ([], 0)
