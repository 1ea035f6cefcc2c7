"""Periodic tasks in Redis: two hashes, and one that says who leads.

An entry's state is one value, replaced only by who has seen the one before: what scripts decide
is whether two byte strings are equal, and everything else is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.keys import Keys
from umbel.drivers.redis.publishing import Publisher
from umbel.drivers.redis.scripts import script
from umbel.model import Firing, Leadership, Message, ScheduleRecord
from umbel.protocols import Clock

__all__ = ["RedisSchedules"]

_LEAD = script("lead")
_RESIGN = script("resign")
_CHANGE = script("schedule")
_TRIES = 20
"""How often a change is tried again when somebody else was faster."""


class _State(msgspec.Struct, frozen=True, array_like=True):
    """How far an entry has come, as it is kept."""

    since: float
    paused: bool = False
    asked: bool = False
    count: int = 0
    last_run: float | None = None
    task_id: str | None = None
    unsent: bool = False


class _Change(msgspec.Struct, frozen=True):
    """An entry's state, from the one that was seen to another."""

    name: str
    seen: bytes
    state: bytes
    entry: bytes = b""
    pushes: Sequence[tuple[str, bytes]] = ()
    """Lists, and what to push to them."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_State).decode


class RedisSchedules:
    """Implements ``umbel.protocols.PublishingScheduleStore`` on the broker's connection."""

    def __init__(self, client: Client, keys: Keys, publisher: Publisher, clock: Clock) -> None:
        self._client = client
        self._publisher = publisher
        self._clock = clock
        self._keys = keys.schedule_leader, keys.schedule_states, keys.schedule_entries

    async def open(self) -> None:
        """Nothing: the connection is the broker's."""

    async def close(self) -> None:
        """Nothing: the connection is the broker's."""

    async def lead(self, owner: str, *, lease: float) -> Leadership:
        """Lead from now on for ``lease`` seconds, unless another does."""
        leader, term, version = await self._client.run(
            _LEAD, self._keys[:1], (owner, lease), again=True
        )
        return Leadership(leader=leader.decode(), term=term, version=version)

    async def resign(self, owner: str) -> None:
        """Let others lead at once."""
        await self._client.run(_RESIGN, self._keys[:1], (owner,), again=True)

    async def load(self, names: Sequence[str] | None = None) -> list[ScheduleRecord]:
        """What is scheduled."""
        _, states_key, entries_key = self._keys
        if names is None:
            states, entries = await self._client.call(
                ("HGETALL", states_key), ("HGETALL", entries_key), again=True
            )
            state_by_name = _pairs(states)
            entry_by_name = _pairs(entries)
        else:
            if not names:
                return []
            states, entries = await self._client.call(
                ("HMGET", states_key, *names), ("HMGET", entries_key, *names), again=True
            )
            state_by_name = dict(zip(names, states, strict=True))
            entry_by_name = dict(zip(names, entries, strict=True))
        return [
            _record(name, state, entry_by_name[name])
            for name, state in sorted(state_by_name.items())
            if state and entry_by_name.get(name)
        ]

    async def put(self, records: Sequence[ScheduleRecord]) -> None:
        """Add entries, or replace what they say."""
        entry_by_name = {record.name: record.entry for record in records}
        fresh = {
            record.name: _encode(_State(since=record.since, paused=record.paused))
            for record in records
        }
        await self._change(
            list(entry_by_name),
            lambda name, seen: _Change(name, seen, seen or fresh[name], entry_by_name[name]),
        )

    async def remove(self, names: Sequence[str]) -> list[str]:
        """Delete entries."""
        return await self._change(
            names, lambda name, seen: _Change(name, seen, b"") if seen else None
        )

    async def pause(self, names: Sequence[str], *, paused: bool) -> list[str]:
        """Stop entries, or let them go on."""
        return await self._replace(names, "", changes=True, paused=paused)

    async def ask(self, names: Sequence[str]) -> list[str]:
        """Have entries run once, soon."""
        return await self._replace(names, "", changes=True, asked=True)

    async def sent(self, names: Sequence[str], *, term: int) -> None:
        """The tasks of the last firings are on their way."""
        await self._replace(names, str(term), changes=False, unsent=False)

    async def fire(self, firings: Sequence[Firing], *, term: int) -> list[bool]:
        """Take the steps that can be taken."""
        return await self._fire(firings, [()] * len(firings), term, unsent=True)

    async def fire_and_publish(
        self, firings: Sequence[Firing], messages: Sequence[Message], *, term: int
    ) -> list[bool]:
        """Take the steps and push the messages of those that were taken, in one script.

        Messages that do not simply go to a list (for a fan-out, or not due yet) are published
        right after it.
        """
        placed = [await self._publisher.placed(message) for message in messages]
        taken = await self._fire(firings, [pushes or () for pushes in placed], term, unsent=False)
        others = [
            message
            for message, pushes, ok in zip(messages, placed, taken, strict=True)
            if ok and pushes is None
        ]
        if others:
            await self._publisher.publish(others)
        return taken

    async def _fire(
        self,
        firings: Sequence[Firing],
        pushes: Sequence[Sequence[tuple[str, bytes]]],
        term: int,
        *,
        unsent: bool,
    ) -> list[bool]:
        names = [firing.name for firing in firings]
        seen_by_name = await self._seen(names)
        changes = [
            change
            for firing, pushed in zip(firings, pushes, strict=True)
            if (change := _step(firing, seen_by_name[firing.name], pushed, unsent)) is not None
        ]
        done = await self._send(changes, str(term), changes=False)
        return [firing.name in done for firing in firings]

    async def _replace(
        self, names: Sequence[str], term: str, *, changes: bool, **fields: object
    ) -> list[str]:
        def change(name: str, seen: bytes) -> _Change | None:
            if not seen:
                return None
            return _Change(name, seen, _encode(msgspec.structs.replace(_decode(seen), **fields)))

        return await self._change(names, change, term, changes=changes)

    async def _change(
        self,
        names: Sequence[str],
        change: Callable[[str, bytes], _Change | None],
        term: str = "",
        *,
        changes: bool = True,
    ) -> list[str]:
        """Change entries whatever others do meanwhile; returns those that there were."""
        done: set[str] = set()
        left = list(dict.fromkeys(names))
        for _ in range(_TRIES):
            seen_by_name = await self._seen(left)
            wanted = [
                made for name in left if (made := change(name, seen_by_name[name])) is not None
            ]
            done |= await self._send(wanted, term, changes=changes)
            left = [made.name for made in wanted if made.name not in done]
            if not left or (term and not done):
                break
        return [name for name in names if name in done]

    async def _seen(self, names: Sequence[str]) -> dict[str, bytes]:
        if not names:
            return {}
        [states] = await self._client.call(("HMGET", self._keys[1], *names), again=True)
        return {name: state or b"" for name, state in zip(names, states, strict=True)}

    async def _send(self, changes_: Sequence[_Change], term: str, *, changes: bool) -> set[str]:
        if not changes_:
            return set()
        lists: dict[str, int] = {}
        arguments: list[str | bytes | int] = [term, int(changes)]
        for change in changes_:
            arguments += [change.name, change.seen, change.state, change.entry, len(change.pushes)]
            for name, raw in change.pushes:
                arguments += [lists.setdefault(name, len(self._keys) + len(lists) + 1), raw]
        done = await self._client.run(_CHANGE, (*self._keys, *lists), arguments)
        return {change.name for change, ok in zip(changes_, done, strict=True) if ok}


def _step(
    firing: Firing, seen: bytes, pushes: Sequence[tuple[str, bytes]], unsent: bool
) -> _Change | None:
    if not seen:
        return None
    state = _decode(seen)
    asked = firing.until == firing.after
    if state.since != firing.after or (asked and not state.asked):
        return None
    changed = msgspec.structs.replace(state, since=firing.until)
    if firing.task_id is not None:
        changed = msgspec.structs.replace(
            changed,
            asked=state.asked and not asked,
            count=state.count + 1,
            last_run=firing.at,
            task_id=firing.task_id,
            unsent=unsent,
        )
    return _Change(firing.name, seen, _encode(changed), pushes=pushes)


def _record(name: str, state: bytes, entry: bytes) -> ScheduleRecord:
    kept = _decode(state)
    return ScheduleRecord(name=name, entry=entry, **msgspec.structs.asdict(kept))


def _pairs(reply: Sequence[bytes] | dict[bytes, bytes]) -> dict[str, bytes]:
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(): value for name, value in pairs}
