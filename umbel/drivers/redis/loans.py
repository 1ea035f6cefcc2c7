"""What this client has on loan, and the scripts that begin, renew and end loans.

A lease is an entry of three: the message in kombu's ``unacked``, and its deadline in one of two
places. In kombu's ``unacked_index`` it is work that comes back when the deadline has passed. A
message that was begun has its deadline in its queue's ``umbel:begun:…`` instead, where Celery's
workers, who would run it again, do not look. What proved to be no message at all is
kept apart from both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from umbel.drivers.redis.broadcasts import HEARD, Broadcasts
from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.dead_letters import About
from umbel.drivers.redis.keys import Keys
from umbel.drivers.redis.marks import times_handed_out
from umbel.drivers.redis.scripts import Script, script
from umbel.model import Delivery, Retention
from umbel.protocols import Clock

__all__ = ["LOADED", "Loans", "is_quarantined", "quarantined"]

_ACK = script("ack")
_BEGIN = script("begin")
_CONFINE = script("confine")
_DROP = script("drop")
_EXTEND = script("extend")
_GIVE_BACK = script("give_back")
_LEAVE = script("leave")
_START = script("start")
LOADED = (_ACK, _BEGIN, _GIVE_BACK, _EXTEND)
"""What every connection needs at once."""

_LEASED = "umbel|L|"
_QUARANTINED = "umbel|Q|"
_PAGE = 1000
"""Leases that are looked at in one step."""


Item = tuple[str] | tuple[str, int] | tuple[str, bytes]
"""A tag, and what a script has to know of it."""

_encode = msgspec.json.Encoder().encode


def is_quarantined(tag: str) -> bool:
    """Whether a tag names something that is no message."""
    return tag.startswith(_QUARANTINED)


def quarantined(tag: str) -> str:
    """What the tag of a message is called once it has proved to be none."""
    return _QUARANTINED + tag[len(_QUARANTINED) :]


class Loans:
    """The books of what is held, and what can be done with it."""

    def __init__(
        self,
        client: Client,
        keys: Keys,
        broadcasts: Broadcasts,
        clock: Clock,
        *,
        lease: float,
        keep_dead: Retention,
    ) -> None:
        self._clock = clock
        self._keep_dead = keep_dead
        self._client = client
        self._keys = keys
        self._broadcasts = broadcasts
        self._lease = lease
        self._place_by_tag: dict[str, str | None] = {}
        """What is held; where the deadline of what was begun is."""

    def hold(self, tag: str, begun: str | None = None) -> None:
        """It is ours from now on; it has been begun if it says where."""
        self._place_by_tag[tag] = begun

    async def begin(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Let the messages never be work again; those whose lease had been lost."""
        tags_by_queue: dict[str, list[str]] = {}
        heard: list[str] = []
        for delivery in deliveries:
            if delivery.tag.startswith(HEARD):
                heard.append(delivery.tag)
            else:
                tags_by_queue.setdefault(delivery.queue, []).append(delivery.tag)
        keys, lost = self._keys, self._broadcasts.settle(heard, keep=True)
        for queue, tags in tags_by_queue.items():
            place = keys.begun(queue)
            # Before it is sent: what is written after it finds the deadlines in their new place.
            self._place_by_tag.update(dict.fromkeys(tags, place))
            places = (keys.unacked, keys.unacked_index, place)
            reply = await self._client.run(_BEGIN, places, (self._lease, *tags), again=True)
            lost.update(tag.decode() for tag in reply)
        for tag in lost:
            self._place_by_tag.pop(tag, None)
        return _among(deliveries, lost)

    async def start(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Note that messages which came back are about to be run; those that had been lost."""
        tags = [each.tag for each in deliveries if not each.tag.startswith(HEARD)]
        if not tags:
            return []
        lost: list[bytes] = await self._client.run(_START, (self._keys.unacked,), tags, again=True)
        return _among(deliveries, {tag.decode() for tag in lost})

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Forget the messages for good; those whose lease had been lost."""
        held = self._place_by_tag
        tags = [delivery.tag for delivery in deliveries]
        places = set(map(held.get, tags))
        place = places.pop() if len(places) == 1 else None
        if place is None:
            return _among(deliveries, await self._settle(_ACK, [(tag,) for tag in tags], ()))
        # What nearly all come to: begun together, done together.
        reply = await self._client.run(_ACK, (self._keys.unacked, place), tags)
        for tag in tags:
            held.pop(tag, None)
        return _among(deliveries, {tag.decode() for tag in reply})

    async def give_back(
        self, deliveries: Sequence[Delivery], *, delay: float, counts: bool
    ) -> list[Delivery]:
        """Make the messages work for others, from ``delay`` on; those that had been lost."""
        heard = [delivery.tag for delivery in deliveries if delivery.tag.startswith(HEARD)]
        lost = self._broadcasts.give_back(heard, delay, counts=counts)
        spent = 0 if counts else 1
        items = [(d.tag, d.attempt - spent) for d in deliveries if not d.tag.startswith(HEARD)]
        return _among(deliveries, lost | await self._settle(_GIVE_BACK, items, (delay, 1)))

    async def drop(self, deliveries: Sequence[Delivery], reason: str) -> list[Delivery]:
        """Put the messages with the dead ones; those that had been lost."""
        now, keep = self._clock.time(), self._keep_dead
        items = [
            (each.tag, _encode(About(each.queue, each.attempt, reason, now))) for each in deliveries
        ]
        first = (keep.count, keep.seconds or 0)
        return _among(deliveries, await self._settle(_DROP, items, first))

    async def extend(self, deliveries: Sequence[Delivery], *, lease: float) -> list[Delivery]:
        """Hold on to the messages for ``lease`` seconds from now; those already lost."""
        items = [(delivery.tag,) for delivery in deliveries]
        return _among(deliveries, await self._settle(_EXTEND, items, (lease,), keep=True))

    async def extend_all(self, holder: str, queues: Sequence[str], *, lease: float) -> int:
        """Hold on to all that a client has on loan of these queues; returns how many."""
        keys = self._keys
        work = [(keys.unacked_index, _LEASED), (keys.quarantine_index, _QUARANTINED)]
        begun = [(keys.begun(queue), _LEASED) for queue in queues]
        count = 0
        for index, kind in work + begun:
            cursor = b"0"
            while True:
                scan = ("ZSCAN", index, cursor, "MATCH", f"{kind}{holder}.*", "COUNT", _PAGE)
                [(cursor, found)] = await self._client.call(scan, again=True)
                # Each with its deadline.
                tags = found[::2]
                if tags:
                    lost = await self._client.run(_EXTEND, (index, index), (lease, *tags))
                    count += len(tags) - len(lost)
                if cursor == b"0":
                    break
        return count

    async def leave(self) -> None:
        """Give back everything; what was begun is left for someone else to notice, at once."""
        held, self._place_by_tag = self._place_by_tag, {}
        tags_by_place: dict[str | None, list[str]] = {}
        for tag, begun in held.items():
            tags_by_place.setdefault(begun, []).append(tag)
        work = tags_by_place.pop(None, [])
        await self._settle(_GIVE_BACK, [(tag, times_handed_out(tag)) for tag in work], (0, 1))
        for place, tags in tags_by_place.items():
            await self._client.run(_LEAVE, (str(place),), tags, again=True)

    def unlend(self, tags: Iterable[str]) -> None:
        """Give back what arrived for nobody. Not waited for: should it fail, leases run out."""
        by_kind: dict[bool, list[str | int]] = {False: [], True: []}
        for tag in tags:
            by_kind[is_quarantined(tag)] += [tag, times_handed_out(tag)]
        for apart, items in by_kind.items():
            if items:
                keys = self._lease_keys(_GIVE_BACK, apart=apart, begun=None)
                self._client.remark(_GIVE_BACK, keys, (0, 0, *items))

    def confine(self, tag: str) -> str:
        """Move a lease of garbage to where garbage is kept; its new tag.

        Not waited for: should it go down with the connection, the lease runs out.
        """
        if is_quarantined(tag):
            return tag
        keys = self._keys
        places = (keys.unacked, keys.unacked_index, keys.quarantine, keys.quarantine_index)
        self._client.remark(_CONFINE, places, (tag,))
        return quarantined(tag)

    def _lease_keys(self, use: Script, *, apart: bool, begun: str | None) -> tuple[str, ...]:
        keys = self._keys
        messages = keys.quarantine if apart else keys.unacked
        # Where the deadlines are, and where else they may be.
        indexes = (keys.unacked_index, keys.unacked_index)
        if apart:
            indexes = (keys.quarantine_index, keys.quarantine_index)
        elif begun is not None:
            indexes = (begun, keys.unacked_index)
        if use is _EXTEND:
            return indexes
        if use is _GIVE_BACK:
            return (messages, indexes[0], keys.delayed, keys.wake)
        if use is _DROP:
            return (messages, indexes[0], keys.dead_letters, keys.dead_index)
        return (messages, indexes[0])

    async def _settle(
        self,
        use: Script,
        items: Sequence[Item],
        first: tuple[float, ...],
        *,
        keep: bool = False,
    ) -> set[str]:
        """Run a script over leases, each kind apart; the tags that were lost."""
        heard: list[str] = []
        held = self._place_by_tag
        kinds: dict[tuple[bool, str | None], list[Item]] = {}
        for item in items:
            tag = item[0]
            if tag.startswith(HEARD):
                heard.append(tag)
                continue
            kind = tag.startswith(_QUARANTINED), held.get(tag)
            kinds.setdefault(kind, []).append(item)
        lost = self._broadcasts.settle(heard, keep=keep)
        for (apart, begun), part in kinds.items():
            arguments = (*first, *(value for item in part for value in item))
            keys = self._lease_keys(use, apart=apart, begun=begun)
            reply: list[bytes] = await self._client.run(use, keys, arguments, again=use is _EXTEND)
            lost.update(tag.decode() for tag in reply)
        for tag in lost if keep else [item[0] for item in items]:
            held.pop(tag, None)
        return lost


def _among(deliveries: Sequence[Delivery], lost: set[str]) -> list[Delivery]:
    return [delivery for delivery in deliveries if delivery.tag in lost] if lost else []
