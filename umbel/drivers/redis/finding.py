"""Which server has the database at the moment: asked again for every new connection."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import hiredis
from msgspec.structs import replace

from umbel.drivers.redis.address import Address, Place, slot_of
from umbel.drivers.redis.link import Link, LinkLost, pack

__all__ = ["Finder", "NotFound"]

Dial = Callable[[Address], Awaitable[Link]]


class NotFound(Exception):
    """Nobody says where the server is; why, in a sentence."""


class Finder:
    """Finds the server of one place.

    Args:
        dial: Opens a connection, without a greeting.
        timeout: Seconds that one Sentinel or node has to answer; the others are asked then.
    """

    def __init__(self, place: Place, dial: Dial, *, timeout: float) -> None:
        self._place = place
        self._dial = dial
        self._timeout = timeout
        self._turns = itertools.count()
        # Grows by the nodes that a cluster has told of: those of the URL may be gone one day.
        self._seeds = list(place.servers)
        self._slot = slot_of(place.prefix)

    async def find(self) -> Address:
        """Where to connect to now.

        Raises:
            NotFound: None of those who should know does.
        """
        place = self._place
        if place.kind == "servers":
            return place.servers[next(self._turns) % len(place.servers)]
        ask = self._ask_sentinel if place.kind == "sentinel" else self._ask_node
        reasons: list[str] = []
        for seed in tuple(self._seeds):
            try:
                async with asyncio.timeout(self._timeout):
                    link = await self._dial(seed)
                    try:
                        found = await ask(link, seed)
                    finally:
                        link.close()
                        await link.wait_closed()
            except TimeoutError:
                reasons.append(f"{seed.where}: no answer in time")
            except (OSError, LinkLost, NotFound) as exc:
                reasons.append(f"{seed.where}: {exc}")
            else:
                # Who has answered is asked first next time.
                self._seeds.remove(seed)
                self._seeds.insert(0, seed)
                return found
        raise NotFound("; ".join(reasons))

    async def _ask_sentinel(self, link: Link, seed: Address) -> Address:
        place = self._place
        known = await _ask(link, seed, "SENTINEL", "MASTER", place.master_name)
        about = _fields(known)
        flags = about.get("flags", "").split(",")
        if "s_down" in flags or "o_down" in flags:
            raise NotFound(f"the Sentinel says that {place.master_name!r} is down")
        others = int(about.get("num-other-sentinels", "0"))
        if others < place.min_other_sentinels:
            raise NotFound(
                f"the Sentinel knows of {others} others, and min_other_sentinels asks for"
                f" {place.min_other_sentinels}"
            )
        return replace(place.master, host=about["ip"], port=int(about["port"]))

    async def _ask_node(self, link: Link, seed: Address) -> Address:
        ranges = await _ask(link, seed, "CLUSTER", "SLOTS")
        found: Address | None = None
        for first, last, *nodes in ranges:
            for place, (host, port, *_) in enumerate(nodes):
                # An empty host is that of the node that was asked.
                name = host.decode() if host else seed.host
                address = replace(self._place.master, host=name, port=int(port))
                if place == 0 and first <= self._slot <= last:
                    found = address
                if address not in self._seeds:
                    self._seeds.append(address)
        if found is None:
            raise NotFound(f"nobody has slot {self._slot}, in which all keys are (CLUSTERDOWN)")
        return found


async def _ask(link: Link, login: Address, *command: str) -> Any:
    """The reply to one command, after logging in where a password is needed."""
    packed = pack(*command)
    count = 1
    if login.password is not None:
        names = (login.username, login.password) if login.username else (login.password,)
        packed = pack("AUTH", *names) + packed
        count = 2
    replies = await link.send(packed, count)
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise NotFound(str(reply))
    return replies[-1]


def _fields(reply: Sequence[bytes]) -> dict[str, str]:
    """A flat list of names and values, as a mapping."""
    return {
        name.decode(): value.decode() for name, value in zip(reply[::2], reply[1::2], strict=True)
    }
