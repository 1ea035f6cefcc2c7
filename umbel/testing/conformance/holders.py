"""What a broker must do whose leases others can renew for a holder; part of the contract."""

from __future__ import annotations

import pytest

from umbel.protocols import Broker, KnowsHolders
from umbel.testing.conformance.clocks import MovableClock
from umbel.testing.conformance.messages import MakeBroker, ids, message, messages, require, take

__all__ = ["HoldersContract"]


def knowing(broker: Broker) -> KnowsHolders:
    """The same broker, if it knows whose its leases are."""
    if not isinstance(broker, KnowsHolders):
        pytest.skip("nobody can renew its leases for another")
    return broker


class HoldersContract:
    """One client renews what another one has on loan."""

    async def test_another_client_can_hold_on_to_all_that_one_has(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        holder, deputy, other = knowing(broker), await make_broker(), await make_broker()
        lease = require(broker.capabilities.lease, "leases last as long as the connection")
        await broker.publish([*messages(5), message("r", routing_key="r", priority=3)])
        taken = [*await take(broker, 5), *await broker.receive(["r"], limit=1, wait=0)]
        begun = [taken[0], taken[-1]]
        assert await broker.begin(begun) == []

        for _ in range(3):
            await clock.advance(lease * 0.6)
            assert await knowing(deputy).extend_all(holder.holder, ["q", "r"], lease=lease) == 6
            assert await other.receive(["q", "r"], limit=10, wait=0) == []

        assert await broker.ack(taken) == []

    async def test_what_it_has_no_more_is_not_held_on_to(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        holder, deputy, other = knowing(broker), await make_broker(), await make_broker()
        lease = require(broker.capabilities.lease, "leases last as long as the connection")
        await broker.publish(messages(4))
        done, returned, later, held = await take(broker, 4)
        await broker.ack([done])
        await broker.nack([returned])
        await broker.nack([later], delay=lease)

        assert await knowing(deputy).extend_all(holder.holder, ["q"], lease=lease * 2) == 1

        again = await take(other, 1)
        assert ids(again) == ids([returned])
        await other.ack(again)
        await clock.advance(lease * 1.2)
        assert ids(await take(other, 1)) == ids([later])
        assert await broker.ack([held]) == []

    async def test_what_others_have_is_not_held_on_to(
        self, broker: Broker, make_broker: MakeBroker, clock: MovableClock
    ) -> None:
        deputy, other = await make_broker(), await make_broker()
        lease = require(broker.capabilities.lease, "leases last as long as the connection")
        await broker.publish(messages(1))
        [stale] = await take(broker, 1)
        await clock.advance(lease * 1.2)
        await take(other, 1)

        assert await knowing(deputy).extend_all(knowing(broker).holder, ["q"], lease=lease) == 0

        await clock.advance(lease * 1.2)
        assert ids(await take(deputy, 1)) == ids([stale])
        assert await broker.ack([stale]) == [stale]
