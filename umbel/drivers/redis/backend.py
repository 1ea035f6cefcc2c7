"""Redis as a result backend: Celery's documents under Celery's keys, told on Celery's channels."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import hiredis

from umbel.drivers.redis import address, chords
from umbel.drivers.redis.connection import Client
from umbel.drivers.redis.link import Push, Reply, pack
from umbel.drivers.redis.options import client_options
from umbel.drivers.redis.scripts import script
from umbel.drivers.redis.watching import Watches
from umbel.exceptions import BackendStoreError, BackendUnavailable, DecodeError, TooLarge
from umbel.model import Arrival, Expected, FullChord, GroupRecord, ResultRecord
from umbel.protocols import Clock
from umbel.states import FAILURE, READY_STATES, SUCCESS, precedence
from umbel.wire.documents import peek_state

__all__ = ["RedisBackend"]

_STORE = script("store")
_LARGEST = 512 * 1024 * 1024 - 4096
_SURPRISES = 5
_PREFIX_ENDS = (":", "_", "-", ".")


class RedisBackend:
    """Implements ``umbel.protocols.ResultBackend``.

    Args:
        transport_options: ``global_keyprefix``, ``socket_timeout``, ``socket_connect_timeout``,
            ``result_chord_ordered``.
        max_retries: Further attempts to connect before a call fails.
        chord_expires: Seconds after the last arrival for which an unfinished chord is kept; 0: for
            ever.
    """

    counts_chords = True

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        transport_options: Mapping[str, object] | None = None,
        connect_timeout: float = 4.0,
        max_retries: int | None = 3,
        chord_expires: float = 86_400.0,
    ) -> None:
        where = address.parse(url, transport_options)
        options = where.options
        self._clock = clock
        prefix = str(options.get("global_keyprefix") or "")
        if prefix and not prefix.endswith(_PREFIX_ENDS):
            prefix += "_"
        self._task = f"{prefix}celery-task-meta-"
        self._group = f"{prefix}celery-taskset-meta-"
        patience = client_options(
            options,
            name=str(options.get("client_name") or "umbel-results"),
            connect_timeout=connect_timeout,
            max_retries=max_retries,
        )
        self._client = Client(
            where,
            clock=clock,
            options=patience,
            error=BackendUnavailable,
            scripts=(_STORE, *chords.SCRIPTS),
        )
        self._chords = chords.Chords(
            self._client,
            prefix=prefix,
            kept=chord_expires,
            ordered=bool(options.get("result_chord_ordered", True)),
        )
        self._listener = Client(
            where,
            clock=clock,
            options=patience,
            error=BackendUnavailable,
            on_push=self._heard,
            on_lost=self._disturbed,
        )
        self._watches = Watches(
            self._listener,
            find=self._find,
            read=self._record,
        )

    def _heard(self, push: Push) -> None:
        self._watches.heard(push)

    def _disturbed(self) -> None:
        self._watches.disturb()

    async def open(self) -> None:
        """Connect. Idempotent. Listening begins with the first watch."""
        self._listener.permit()
        await self._client.open()

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        await self._watches.close()
        await self._client.close()

    async def store(self, records: Sequence[ResultRecord]) -> None:
        """Keep the records, and tell who watches.

        A success is written at once, since nothing ranks higher; anything else by a script that
        looks at what is there.

        Raises:
            BackendStoreError: A result is larger than Redis takes.
        """
        now = self._clock.time()
        packed: list[bytes] = []
        guarded: list[ResultRecord] = []
        for record in records:
            if len(record.body) > _LARGEST:
                raise BackendStoreError(
                    f"the result of task {record.id!r} is {len(record.body):,} bytes long, Redis"
                    f" accepts {_LARGEST:,}; store it elsewhere and return a reference to it",
                    state=record.state,
                    task_id=record.id,
                )
            if record.state == SUCCESS:
                packed.append(_success(self._task + record.id, record, now))
            else:
                guarded.append(record)
        if packed:
            replies = await self._client.send(b"".join(packed), 2 * len(packed), again=True)
            self._check(replies)
        if guarded:
            await self._store_guarded(guarded, now)

    async def load(self, ids: Sequence[str]) -> dict[str, ResultRecord]:
        """The records that exist."""
        found = await self._find([self._task + id_ for id_ in ids])
        return {record.id: record for record in found.values()}

    async def forget(self, ids: Sequence[str]) -> None:
        """Delete the records."""
        if ids:
            await self._client.call(["UNLINK", *(self._task + id_ for id_ in ids)], again=True)

    def watch(
        self, ids: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[list[ResultRecord]]]:
        """Every record of ``ids``: those already there first, then each change."""
        return self._watches.watch([self._task + id_ for id_ in ids])

    async def store_groups(self, groups: Sequence[GroupRecord]) -> None:
        """Keep the members of groups."""
        now = self._clock.time()
        if groups:
            await self._client.call(
                *(
                    ["SET", self._group + group.id, group.body, *_expiry(group.expires_at, now)]
                    for group in groups
                ),
                again=True,
            )

    async def load_groups(self, ids: Sequence[str]) -> dict[str, GroupRecord]:
        """The groups that exist."""
        if not ids:
            return {}
        (bodies,) = await self._client.call(
            ["MGET", *(self._group + id_ for id_ in ids)], again=True
        )
        return {
            id_: GroupRecord(id=id_, body=body)
            for id_, body in zip(ids, bodies, strict=True)
            if body is not None
        }

    async def forget_groups(self, ids: Sequence[str]) -> None:
        """Delete the groups."""
        if ids:
            await self._client.call(["UNLINK", *(self._group + id_ for id_ in ids)], again=True)

    async def expect(self, expected: Sequence[Expected]) -> None:
        """Say what chords there are, and how many members are to arrive at each."""
        await self._chords.expect(expected)

    async def enlarge(self, members: Mapping[str, Sequence[str]]) -> None:
        """More tasks are to arrive at each chord."""
        await self._chords.enlarge(members)

    async def arrive(self, arrivals: Sequence[Arrival]) -> list[FullChord]:
        """Count chord members in; the chords among them that are full and not sealed."""
        return await self._chords.arrive(arrivals)

    async def seal(self, chord_ids: Sequence[str]) -> None:
        """Forget the counts, and remember for a day that these chords are done."""
        await self._chords.seal(chord_ids)

    async def claim(self, publications: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether each publication is the one that runs."""
        return await self._chords.claim(publications)

    async def prune(self, *, before: float, limit: int) -> int:
        """Nothing to do: Redis deletes what has expired by itself."""
        return 0

    async def _find(self, keys: Sequence[str]) -> dict[str, ResultRecord]:
        if not keys:
            return {}
        (bodies,) = await self._client.call(["MGET", *keys], again=True)
        return {
            key: self._record(key, body)
            for key, body in zip(keys, bodies, strict=True)
            if body is not None
        }

    def _record(self, key: str, body: bytes) -> ResultRecord:
        try:
            state = peek_state(body)
        except (DecodeError, TooLarge):
            # It will never get better: whoever waits is to wait no longer, and learns what is
            # wrong with it from the codec.
            state = FAILURE
        return ResultRecord(id=key[len(self._task) :], state=state, body=body)

    async def _store_guarded(self, records: Sequence[ResultRecord], now: float) -> None:
        """Store what must not replace a more final state, also where Lua cannot see the state."""
        known = [""] * len(records)
        waiting: list[int] = list(range(len(records)))
        for _ in range(_SURPRISES):
            arguments: list[str | bytes | int | float] = []
            for place in waiting:
                record = records[place]
                expiry = _expiry(record.expires_at, now)
                ttl = expiry[1] if expiry else 0
                arguments += (record.body, ttl, _protected(record.state), known[place])
            keys = [self._task + records[place].id for place in waiting]
            answers = await self._client.run(_STORE, keys, arguments, again=True)
            undecided = [
                (place, answer)
                for place, answer in zip(waiting, answers, strict=True)
                if isinstance(answer, bytes)
            ]
            waiting = []
            for place, present in undecided:
                state = self._record("", present).state
                if f"|{state}|" not in _protected(records[place].state):
                    known[place] = hashlib.sha1(present, usedforsecurity=False).hexdigest()
                    waiting.append(place)
            if not waiting:
                return

    def _check(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise self._client.failure(reply, doing="store")


def _success(key: str, record: ResultRecord, now: float) -> bytes:
    """``SET`` and ``PUBLISH``, written out: twice as fast as packing two commands."""
    name = key.encode()
    body = record.body
    if record.expires_at is None:
        return pack("SET", name, body) + pack("PUBLISH", name, body)
    ttl = b"%d" % max(int((record.expires_at - now) * 1000), 1)
    return (
        b"*5\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$2\r\nPX\r\n$%d\r\n%b\r\n"
        b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
    ) % (len(name), name, len(body), body, len(ttl), ttl, len(name), name, len(body), body)


def _expiry(expires_at: float | None, now: float) -> tuple[str, int] | tuple[()]:
    return () if expires_at is None else ("PX", max(int((expires_at - now) * 1000), 1))


def _protected(state: str) -> str:
    """The final states that a record in ``state`` must not replace, as the script reads them.

    >>> _protected("STARTED"), _protected("REVOKED")
    ('|FAILURE|REVOKED|SUCCESS|', '|FAILURE|SUCCESS|')
    """
    rank = precedence(state)
    # Any state may follow one that is not final: RETRY ranks below STARTED and yet comes after.
    higher = sorted(
        final for final in READY_STATES if precedence(final) < rank or state not in READY_STATES
    )
    return f"|{'|'.join(higher)}|" if higher else ""
