"""Looking after children: time limits, and those that do not come up or do not go on."""

from __future__ import annotations

import logging
import signal as signals
from collections.abc import Sequence

from umbel.pools.limits import say_soft
from umbel.pools.prefork.member import Member, Sentence
from umbel.pools.prefork.process import STACK_SIGNAL

__all__ = ["Oversight"]

logger = logging.getLogger(__name__)

_LONG = 0.05
"""Seconds after which a task is a long one."""
_SECOND_LOOK = 0.02
"""Seconds between a sentence and its execution: longer than it takes memory that is written on
one processor to be seen on another, by orders of magnitude."""
_LAST_WORDS = 0.5
"""Seconds that a child has for handing over what it has finished, and for showing its stack."""
_STOPPED = 10.0
"""Seconds that a child may be stopped."""
_IMPORTS = 60.0
"""Seconds that an interpreter may take to start and to import the program."""


class Oversight:
    """What the parent does when it looks at a child, a few dozen times a second, as long as that
    child has something to do or to become."""

    def __init__(self, process: str, alive_timeout: float) -> None:
        """Make one.

        Args:
            process: What children are called, before the hyphen and their number.
            alive_timeout: Seconds that a child may take to open its runner.
        """
        self._process = process
        self._alive_timeout = alive_timeout
        self._late = 0

    def look(self, member: Member, now: float) -> None:
        """Enforce what is to be enforced."""
        if member.awaited_since is not None:
            self._see_it_come_up(member, now)
        if member.stopped_since is not None and now - member.stopped_since > _STOPPED:
            logger.error(
                "Process %r pid:%s has been stopped (SIGSTOP) for %g seconds: killing it",
                self.name(member),
                member.pid,
                _STOPPED,
            )
            member.kill(signals.SIGKILL)
        key = member.started()
        if member.sentence is not None:
            self._execute(member, member.sentence, key, now)
        elif key is not None and member.limited:
            self._limit(member, key, member.running_for(now), now)
        if key is not None and member.running_for(now) > _LONG:
            member.stuck = True
            if len(member.held) > 1:
                member.ask_back()

    def came_up(self, member: Member) -> None:
        """The child is ready."""
        member.awaited_since = None
        self._late = 0

    def stopped(self, member: Member, now: float) -> None:
        """Someone has stopped the child: it gets nothing more until it is continued."""
        member.stopped_since = now
        logger.warning(
            "Process %r pid:%s is stopped (SIGSTOP): it runs nothing, and is killed and replaced "
            "unless it is continued (SIGCONT) within %g seconds",
            self.name(member),
            member.pid,
            _STOPPED,
        )

    def grown(self, sizes: Sequence[int]) -> None:
        """A child has more memory than it may: ``sizes`` in KiB, what it has and what it may."""
        logger.warning("child process exiting after exceeding memory limit (%sKiB / %sKiB)", *sizes)

    def name(self, member: Member) -> str:
        """What the log calls it."""
        return f"{self._process}-{member.number}"

    def _limit(self, member: Member, key: int, runtime: float, now: float) -> None:
        request = member.held[key]
        hard, soft = request.time_limit, request.soft_time_limit
        if hard is not None and runtime >= hard:
            member.condemn(key, signals.SIGKILL, now, overdue=True)
            # What it says is read when the sentence is executed.
            member.send_signal(STACK_SIGNAL)
        elif soft is not None and runtime >= soft and member.tell_overtime(key):
            say_soft(request)

    def _execute(self, member: Member, sentence: Sentence, key: int | None, now: float) -> None:
        if now - sentence.passed < _SECOND_LOOK:
            return
        if key != sentence.key:
            # Ended by itself; and if there was a signal, it was one that ends no process.
            member.pardon()
            return
        if sentence.executed:
            # A signal that ends neither the task nor the process leaves the limits in force.
            if not sentence.overdue and member.limited:
                self._limit(member, sentence.key, member.running_for(now), now)
            return
        if now - sentence.passed < _LAST_WORDS and (
            member.returning or (sentence.overdue and member.is_speaking)
        ):
            return
        sentence.executed = True
        sentence.passed = now
        stack = member.words() if sentence.overdue else ""
        if stack:
            logger.warning(
                "Process %r pid:%s is killed; it was at\n%s", self.name(member), member.pid, stack
            )
        member.kill(sentence.signal)

    def _see_it_come_up(self, member: Member, now: float) -> None:
        since = member.awaited_since
        assert since is not None, "asked before"
        # One that needs longer shall get there once, not be started and killed for ever.
        patience = self._alive_timeout * 2 ** min(self._late, 6) if member.is_born else _IMPORTS
        if now - since < patience:
            return
        self._late += 1
        logger.error(
            "Timed out waiting for UP message from process %r pid:%s after %g seconds "
            "(worker_proc_alive_timeout): killing it",
            self.name(member),
            member.pid,
            patience,
        )
        member.awaited_since = None
        member.kill(signals.SIGKILL)
