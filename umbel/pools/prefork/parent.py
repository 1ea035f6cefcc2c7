"""The prefork pool: tasks in processes of their own."""

from __future__ import annotations

import asyncio
import logging
import signal as signals
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush

from umbel.clock import SystemClock
from umbel.model import Request
from umbel.pools.prefork.channel import (
    BORN,
    OUTCOMES,
    READY,
    SPENT,
    decode_keys,
    decode_outcomes,
)
from umbel.pools.prefork.child import Traits
from umbel.pools.prefork.endings import outcomes_of_end, report_end
from umbel.pools.prefork.household import FAREWELL, Household
from umbel.pools.prefork.member import Member, deal
from umbel.pools.prefork.nursery import StartMethod, make_nursery
from umbel.pools.prefork.oversight import Oversight
from umbel.pools.prefork.process import signal_named
from umbel.pools.prefork.recall import Recall
from umbel.pools.prefork.slots import SLOTS, Slots
from umbel.pools.verdicts import cancelled
from umbel.protocols import Runner, Running

__all__ = ["PreforkPool"]

logger = logging.getLogger(__name__)

_CLOCK = SystemClock()


class PreforkPool(Household[Member]):
    """Runs requests in child processes, one at a time in each.

    Short requests are handed over in batches, and handed back when one of them turns out to be
    long: nothing waits behind a long task while another child has nothing to do. A child that
    dies costs the request it was running, and those it had finished within the millisecond
    before; one that is killed because of a time limit or :meth:`cancel` costs that request only.

    POSIX only.
    """

    _look_every = 0.025

    def __init__(
        self,
        make_runner: Callable[[], Runner],
        size: int,
        *,
        start_method: StartMethod = "fork",
        prefetch: int | None = None,
        max_tasks_per_child: int | None = None,
        max_memory_per_child: int | None = None,
        alive_timeout: float = 4.0,
        name: str = "worker",
    ) -> None:
        """Make one, without a process yet.

        Args:
            make_runner: Called in each child. With ``spawn`` and ``forkserver`` it is pickled.
            start_method: ``fork``: from a copy of this process made by :meth:`prepare`;
                ``forkserver``: from a new interpreter; ``spawn``: each a new interpreter.
            prefetch: Most requests that a child may hold, however short they are.
            max_tasks_per_child: After so many a child is replaced.
            max_memory_per_child: KiB; a child that has more is replaced when its task is done.
            alive_timeout: Seconds that a child may take to open its runner.
        """
        slots = Slots() if start_method == "fork" else Slots.in_file()
        traits = Traits(name, max_memory_per_child)
        super().__init__(size, slots, make_nursery(start_method, make_runner, slots, traits))
        self._prefetch = prefetch
        self._max_tasks = max_tasks_per_child
        process = "SpawnPoolWorker" if start_method == "spawn" else "ForkPoolWorker"
        self._oversight = Oversight(process, alive_timeout)
        # A heap: the lowest is taken first, as it is the number that log files are named after.
        self._free_slots = list(range(SLOTS))
        # Keys that were cancelled while a child held them, and the signal they are to get.
        self._unwanted: dict[int, signals.Signals | None] = {}
        self._recall = Recall()
        self._prepared = False
        self._childless = False

    @property
    def size(self) -> int:
        """How many children run requests."""
        return self._size

    @property
    def free(self) -> int:
        """How many more may be submitted now; grows while tasks are short.

        A child that is being replaced counts as one, so that whoever finds no room can rely on
        an outcome to come.
        """
        if self._stopping:
            return 0
        room = 0
        missing = self._size
        for member in self._members.values():
            if member.ready and not member.retiring:
                missing -= 1
                room += member.room
        return max(0, room + max(0, missing) - len(self._pending))

    @property
    def pids(self) -> list[int]:
        """The processes that run tasks, oldest first."""
        return [member.pid for member in self._members.values() if member.pid is not None]

    def prepare(self) -> None:
        """Fork the zygotes; before there are threads and an event loop."""
        self._nursery.prepare()
        self._prepared = True

    async def start(self) -> None:
        """Start the children; returns when each has opened its runner, or died trying.

        Raises:
            RuntimeError: :meth:`prepare` was not called.
        """
        if not self._prepared:
            raise RuntimeError("PreforkPool.prepare() must be called before the event loop runs")
        await super().start()

    def running(self) -> list[Running]:
        """What the children have started and not finished."""
        return [each for member in self._members.values() if (each := member.running()) is not None]

    async def withdraw(self, keys: Sequence[int] | None = None) -> list[Request]:
        """Take back requests that have not started: those of ``keys``, or all."""
        asked: list[Member] = []
        held: list[int] = []
        for member in self._members.values():
            # In the order in which the child starts them.
            behind = [key for key in member.held if keys is None or key in keys]
            if behind and behind != [member.started()]:
                held += behind
                asked.append(member)
                member.ask_back()
        wanted = {*held, *(each.key for each in self._pending)} if keys is None else set(keys)
        self._recall.begin(wanted)
        self._take_back([self._pending.pop() for _ in range(len(self._pending))])
        answered = False
        try:
            while any(one.returning and one.number in self._members for one in asked):
                await self._changed()
            answered = True
        finally:
            taken = self._recall.end(wanted)
            if not answered:
                self._take_back(reversed(taken))
        return taken

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None:
        """Drop requests that have not started; send ``signal`` to the processes of those that
        have. Without a signal, what runs goes on.

        Raises:
            ValueError: There is no such signal.
        """
        number = None if signal is None else signal_named(signal)
        for key in keys:
            for member in self._members.values():
                if key in member.held:
                    self._unwanted[key] = number
                    if member.started() != key:
                        member.ask_back()
                    elif number is not None:
                        self._condemn(member, key, number)
                    else:
                        del self._unwanted[key]
        if self._stopping:
            # What has not started is given back by stop().
            return
        wanted = set(keys)
        dropped = [request for request in self._pending if request.key in wanted]
        for request in dropped:
            self._pending.remove(request)
        if dropped:
            self._outbox.put([cancelled(request) for request in dropped])

    async def resize(self, size: int) -> None:
        """Grow or shrink; a busy child goes when its task is done.

        Raises:
            ValueError: ``size`` is more than a pool can have.
        """
        if not 0 <= size <= SLOTS // 2:
            raise ValueError(f"a prefork pool has 0 to {SLOTS // 2} children; asked for {size}")
        self._size = size
        self._fill()
        staying = [member for member in self._members.values() if not member.retiring]
        staying.sort(key=lambda member: (not member.ready, len(member.held)))
        for member in staying[: max(0, len(staying) - size)]:
            self._retire(member)
        self._room_changed()

    async def restart(self, modules: Sequence[str] = (), *, reload: bool = False) -> None:
        """Replace every child; a busy one when its task is done."""
        self._nursery.refresh(modules, reload=reload)
        for member in [member for member in self._members.values() if not member.retiring]:
            self._retire(member)

    def child_exited(self, number: int, status: int | None) -> None:
        """The process is gone: decide what becomes of what it held, and replace it."""
        member = self._members.get(number)
        if member is None:
            return
        now = _CLOCK.monotonic()
        runtime = member.running_for(now)
        started, waiting = member.part()
        reason = report_end(member, self._oversight.name(member), status)
        del self._members[number]
        heappush(self._free_slots, member.slot)
        self._take_back(reversed(waiting))
        if self._killing:
            self._unfinished += started
        elif started:
            signalled = self._unwanted.get(started[-1].key) is not None
            self._outbox.put(
                outcomes_of_end(member, started, reason, runtime=runtime, signalled=signalled)
            )
            for request in started:
                self._unwanted.pop(request.key, None)
        if not member.retiring and member.sentence is None:
            self._births.note_death(now, lived=now - member.born, size=self._size, reason=reason)
        self._change.set()
        self._fill()
        self._dispatch()
        self._room_changed()

    def child_stopped(self, number: int) -> None:
        """The process was sent SIGSTOP."""
        member = self._members.get(number)
        if member is not None:
            self._oversight.stopped(member, _CLOCK.monotonic())
            self._watch()

    def child_continued(self, number: int) -> None:
        """The process was sent SIGCONT."""
        member = self._members.get(number)
        if member is not None:
            member.stopped_since = None
            self._dispatch()
            self._room_changed()

    def child_failed(self, number: int, reason: str) -> None:
        """There is no process, and will be none."""
        if (member := self._members.get(number)) is not None:
            logger.critical("Process %r cannot start: %s", self._oversight.name(member), reason)
        self.child_exited(number, None)

    def childless(self, reason: str) -> None:
        """There will be no children any more: whoever waits for outcomes is told so."""
        self._childless = True
        self._outbox.fail(RuntimeError(f"the prefork pool cannot go on: {reason}"))

    def _receive(self, member: Member, kind: int, seconds: float, payload: memoryview) -> None:
        """A frame from a child."""
        if kind == OUTCOMES:
            self._outbox.put(member.take(decode_outcomes(payload), seconds))
            self._births.note_life()
            if self._unwanted:
                self._forget_ended()
        elif kind == BORN:
            self.child_started(member.number, *decode_keys(payload))
            member.is_born, member.awaited_since = True, _CLOCK.monotonic()
        elif kind == READY:
            member.ready = True
            self._oversight.came_up(member)
            self._change.set()
            self._room_changed()
        elif kind == SPENT:
            self._oversight.grown(decode_keys(payload))
            self._retire(member)
        else:
            self._take_back(member.take_back(decode_keys(payload)))
            key = member.started()
            number = None if key is None else self._unwanted.get(key)
            if number is not None and key is not None and member.sentence is None:
                # It was started before it could be handed back.
                self._condemn(member, key, number)
            self._change.set()
            self._room_changed()
        if not member.held:
            if member.spent or member.retiring:
                self._retire(member)
            self._change.set()
        if self._pending:
            self._dispatch()

    def _dispatch(self) -> None:
        """Hand out what is pending as far as there is room, the emptiest child first."""
        if self._stopping:
            return
        if failures := deal(self._pending, self._members.values()):
            self._outbox.put(failures)
        self._watch()

    def _look(self) -> None:
        """Look after the children."""
        now = _CLOCK.monotonic()
        again = bool(self._pending)
        for member in self._members.values():
            if member.needs_a_look:
                again = True
                self._oversight.look(member, now)
        if again:
            self._watch()

    def _condemn(self, member: Member, key: int, number: signals.Signals) -> None:
        member.condemn(key, number, _CLOCK.monotonic(), overdue=False)
        self._watch()

    def _take_back(self, requests: Iterable[Request]) -> None:
        """Requests that a child has not started, the last one first: they are next again."""
        for request in requests:
            unwanted = request.key in self._unwanted
            self._unwanted.pop(request.key, None)
            if self._recall.catches(request):
                continue
            if unwanted and not self._stopping:
                self._outbox.put([cancelled(request)])
            else:
                self._pending.appendleft(request)

    def _forget_ended(self) -> None:
        held = [member.held for member in self._members.values()]
        for key in [key for key in self._unwanted if not any(key in one for one in held)]:
            del self._unwanted[key]

    def _fill(self) -> None:
        """Start children until there are ``size``, now or when they may be started again."""
        if self._stopping or self._childless:
            return
        missing = self._size - sum(not member.retiring for member in self._members.values())
        if missing <= 0 or self._must_wait:
            return
        for _ in range(missing):
            self._births.announce(self)
            slot = heappop(self._free_slots)
            member = Member(
                next(self._numbers),
                slot,
                self._slots,
                prefetch=self._prefetch,
                budget=self._max_tasks,
            )
            member.awaited_since = _CLOCK.monotonic()
            self._bear(member)
        self._watch()

    def _retire(self, member: Member) -> None:
        """Let a child end as soon as it holds nothing, and have another in its place."""
        member.retiring = True
        if member.held:
            member.ask_back()
            return
        member.finish()
        if not self._stopping:
            self._fill()
            # It may hang in what it closes; its requests are all done.
            asyncio.get_running_loop().call_later(FAREWELL, self._put_down, member)

    def _put_down(self, member: Member) -> None:
        if self._members.get(member.number) is member:
            member.kill(signals.SIGKILL)
