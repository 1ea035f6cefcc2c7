"""The green pool: tasks in greenlets, of a process that is patched for them."""

from __future__ import annotations

import logging
import signal as signals
from collections.abc import Callable, Sequence

from umbel.clock import SystemClock
from umbel.model import Request
from umbel.pools.green.child import be_eventlet_child, be_gevent_child
from umbel.pools.green.hubs import PATCHING, HubKind
from umbel.pools.green.member import GreenMember
from umbel.pools.limits import say_soft
from umbel.pools.prefork.channel import (
    BORN,
    OUTCOMES,
    READY,
    RETURNED,
    TAKEN,
    decode_keys,
    decode_outcomes,
)
from umbel.pools.prefork.child import Traits
from umbel.pools.prefork.endings import report_end
from umbel.pools.prefork.fresh import Be, Birth
from umbel.pools.prefork.household import Household
from umbel.pools.prefork.nursery import SpawnNursery
from umbel.pools.prefork.process import STACK_SIGNAL
from umbel.pools.prefork.slots import Slots
from umbel.pools.verdicts import cancelled, lost, overdue
from umbel.protocols import Runner, Running

__all__ = ["GreenPool"]

logger = logging.getLogger(__name__)

_CLOCK = SystemClock()
_BE: dict[HubKind, Be] = {"gevent": be_gevent_child, "eventlet": be_eventlet_child}
_PATIENCE = 5.0
"""Seconds after which a greenlet that was told to end holds up all others: it never waits."""


class GreenPool(Household[GreenMember]):
    """Runs requests in greenlets, thousands at once, all in one child process.

    The child is a new interpreter that patches the standard library before it imports anything,
    so what blocks in tasks lets others run; the worker itself is not patched. A greenlet is
    interrupted where it waits. One that has run for its hard time limit and does not wait holds up
    the whole child, which is then killed, and costs everything that runs in it.

    POSIX only.
    """

    _look_every = 0.05

    def __init__(
        self, make_runner: Callable[[], Runner], size: int, *, kind: HubKind, name: str = "worker"
    ) -> None:
        """Make one, without a process yet.

        Args:
            make_runner: Called in the child; it is pickled.

        Raises:
            ValueError: ``make_runner`` cannot be pickled.
        """
        slots = Slots.in_file()
        birth = Birth.of(
            make_runner,
            slots,
            Traits(name),
            be=_BE[kind],
            process="GreenPoolWorker",
            first=PATCHING[kind],
        )
        super().__init__(size, slots, SpawnNursery(birth))
        self._cancelled: set[int] = set()

    @property
    def size(self) -> int:
        """How many greenlets run at once."""
        return self._size

    @property
    def free(self) -> int:
        """How many more may be submitted now."""
        if self._stopping:
            return 0
        held = sum(len(member.held) for member in self._members.values())
        return max(0, self._size - held - len(self._pending))

    def prepare(self) -> None:
        """Nothing to fork."""

    def running(self) -> list[Running]:
        """What the child has started and not finished."""
        return [
            Running(key, since, member.pid or 0)
            for member in self._members.values()
            for key, since in member.since.items()
        ]

    async def withdraw(self, keys: Sequence[int] | None = None) -> list[Request]:
        """Take back requests that wait for a child; one that lives starts all at once."""
        taken = [each for each in self._pending if keys is None or each.key in keys]
        for request in taken:
            self._pending.remove(request)
        return taken

    async def cancel(self, keys: Sequence[int], *, signal: str | None = None) -> None:
        """Drop requests that have not started; with any ``signal``, raise ``TaskCancelled``
        inside those that have."""
        if not self._stopping:
            self._outbox.put([cancelled(request) for request in await self.withdraw(keys)])
        if signal is not None:
            for member in self._members.values():
                for key in keys:
                    if key in member.held:
                        self._cancelled.add(key)
                        member.cancel(key, _CLOCK.monotonic())
            self._watch()

    async def resize(self, size: int) -> None:
        """Change how many may run at once; what runs goes on."""
        self._size = size
        self._room_changed()

    async def restart(self, modules: Sequence[str] = (), *, reload: bool = False) -> None:
        """Have another child take over; this one ends when it has nothing left."""
        for member in list(self._members.values()):
            self._retire(member)
        self._fill()

    def child_exited(self, number: int, status: int | None) -> None:
        """The process is gone, and everything that ran in it; another takes its place."""
        member = self._members.get(number)
        if member is None:
            return
        member.close()
        del self._members[number]
        reason = report_end(member, f"GreenPoolWorker-{number}", status)
        now = _CLOCK.monotonic()
        for key, request in reversed(member.held.items()):
            since = member.since.get(key)
            if self._killing and since is not None:
                self._unfinished.insert(0, request)
            elif since is None:
                # Sent, and never taken.
                self._pending.appendleft(request)
            elif key in self._cancelled:
                self._outbox.put([cancelled(request, runtime=now - since)])
            else:
                self._outbox.put([lost(request, reason, runtime=now - since)])
        self._cancelled.difference_update(member.held)
        if not member.retiring:
            self._births.note_death(now, lived=now - member.born, size=1, reason=reason)
        self._change.set()
        self._fill()

    def child_failed(self, number: int, reason: str) -> None:
        """There is no process, and will be none."""
        logger.critical("Process 'GreenPoolWorker-%d' could not be started: %s", number, reason)
        self.child_exited(number, None)

    def child_stopped(self, number: int) -> None:
        """The process was sent SIGSTOP: everything in it waits until it is continued."""
        logger.warning("Process 'GreenPoolWorker-%d' is stopped (SIGSTOP): it runs nothing", number)

    def child_continued(self, number: int) -> None:
        """The process was sent SIGCONT."""

    def childless(self, reason: str) -> None:
        """Never said by the nursery that this pool has."""

    def _receive(self, member: GreenMember, kind: int, seconds: float, payload: memoryview) -> None:
        """A frame from a child."""
        if kind == OUTCOMES:
            done = [one for one in decode_outcomes(payload) if member.forget(one.key) is not None]
            self._cancelled.difference_update(one.key for one in done)
            if done:
                self._outbox.put(done)
            self._births.note_life()
        elif kind == TAKEN:
            now = _CLOCK.monotonic()
            for key in decode_keys(payload):
                member.since[key] = now
            self._watch()
        elif kind == RETURNED:
            # Told to end; whether they do is their affair, but the child goes on.
            for key in decode_keys(payload):
                member.ending.pop(key, None)
        elif kind == BORN:
            self.child_started(member.number, *decode_keys(payload))
        elif kind == READY:
            member.ready = True
            self._dispatch()
            self._room_changed()
        if member.retiring and not member.held:
            self._retire(member)
        self._change.set()

    def _dispatch(self) -> None:
        if not self._pending or self._stopping:
            return
        for member in self._members.values():
            if member.ready and not member.retiring:
                failures = member.give(list(self._pending))
                self._pending.clear()
                if failures:
                    self._outbox.put(failures)
                return

    def _look(self) -> None:
        """See whose time is over."""
        now = _CLOCK.monotonic()
        for member in self._members.values():
            for key, since in list(member.since.items()):
                self._limit(member, member.held[key], now - since, now)
            if member.ending and now - min(member.ending.values()) > _PATIENCE:
                self._put_down(member)
        if any(member.since or member.ending for member in self._members.values()):
            self._watch()

    def _limit(self, member: GreenMember, request: Request, runtime: float, now: float) -> None:
        hard, soft, key = request.time_limit, request.soft_time_limit, request.key
        if hard is not None and runtime >= hard:
            member.cancel(key, now)
            ending = member.ending[key]
            member.forget(key)
            # Until the child says that it has ended: see _put_down.
            member.ending[key] = ending
            self._outbox.put([overdue(request, runtime=runtime)])
        elif soft is not None and runtime >= soft and key not in member.told:
            member.interrupt(key)
            say_soft(request)

    def _put_down(self, member: GreenMember) -> None:
        """Something in it never waits, so nothing else in it can go on."""
        if member.stack_asked:
            logger.error(
                "Process 'GreenPoolWorker-%d' pid:%s is killed: a task that was told to end %g "
                "seconds ago does not wait, and holds up all others",
                member.number,
                member.pid,
                _PATIENCE,
            )
            member.kill(signals.SIGKILL)
        else:
            # What it says is in the log when its end is reported.
            member.stack_asked = True
            member.send_signal(STACK_SIGNAL)

    def _fill(self) -> None:
        """Have a child that takes requests, now or when it may be started again."""
        if self._stopping or any(not member.retiring for member in self._members.values()):
            return
        if not self._must_wait:
            self._bear(GreenMember(next(self._numbers), self._slots))

    def _retire(self, member: GreenMember) -> None:
        member.retiring = True
        if not member.held:
            member.finish()
