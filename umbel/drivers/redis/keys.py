"""The names of everything we keep in Redis: kombu's where kombu has one, ``umbel:…`` elsewhere.

Source:
    Keys, separators and priority steps as observed with kombu 5.7 (lists, ``_kombu.binding.*``,
    ``unacked``); transport options of the same names change them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

from umbel.drivers.redis.link import pack

__all__ = ["Keys", "Lists"]

_STEPS = (0, 3, 6, 9)
_LOWEST_PRIORITY = 9


class Keys:
    r"""Names for one pair of prefix and separator; remembers those it has made.

    >>> keys = Keys({})
    >>> keys.list_name("mail", 0), keys.list_name("mail", 7)
    ('mail', 'mail\x06\x166')
    """

    def __init__(self, options: Mapping[str, object]) -> None:
        prefix = str(options.get("global_keyprefix") or "")
        self.prefix = prefix
        self.separator = str(options.get("sep") or "\x06\x16")
        steps = cast("Sequence[int] | None", options.get("priority_steps"))
        self.steps: tuple[int, ...] = tuple(sorted(steps)) if steps else _STEPS
        self.unacked = prefix + str(options.get("unacked_key") or "unacked")
        self.unacked_index = prefix + str(options.get("unacked_index_key") or "unacked_index")
        self.quarantine = prefix + "umbel:quarantine"
        self.quarantine_index = prefix + "umbel:quarantine:index"
        self.delayed = prefix + "umbel:delayed"
        self.wake = prefix + "umbel:wake"
        self.revoked = prefix + "umbel:revoked"
        self.dead_letters = prefix + "umbel:dead:letters"
        self.dead_index = prefix + "umbel:dead:index"
        self.schedule_leader = prefix + "umbel:schedule:leader"
        self.schedule_states = prefix + "umbel:schedule:states"
        self.schedule_entries = prefix + "umbel:schedule:entries"
        # Few queues, asked for on every publish: built once.
        self._lists: dict[tuple[str, int | None], str] = {}
        self._suffixes: dict[str, bytes] = {}

    def list_name(self, queue: str, priority: int | None) -> str:
        """The list where messages of a priority wait."""
        name = self._lists.get((queue, priority))
        if name is None:
            step = self.step(priority)
            name = f"{self.prefix}{queue}{self.separator}{step}" if step else self.prefix + queue
            if len(self._lists) > 10_000:
                self._lists.clear()
            self._lists[queue, priority] = name
        return name

    def step(self, priority: int | None) -> int:
        """The step a priority is rounded down to."""
        wanted = min(max(priority or 0, 0), _LOWEST_PRIORITY)
        return max((step for step in self.steps if step <= wanted), default=self.steps[0])

    def lists(self, queues: Sequence[str]) -> list[tuple[str, str]]:
        """All lists of the queues with their queue, in the order in which they are served."""
        return [(self.list_name(queue, step), queue) for step in self.steps for queue in queues]

    def suffix(self, queue: str) -> bytes:
        """What follows an envelope in kombu's record of a message in flight."""
        suffix = self._suffixes.get(queue)
        if suffix is None:
            if len(self._suffixes) > 10_000:
                self._suffixes.clear()
            suffix = self._suffixes[queue] = f',"",{json.dumps(queue)}]'.encode()
        return suffix

    def binding(self, exchange: str) -> str:
        """The set of an exchange's bindings."""
        return f"{self.prefix}_kombu.binding.{exchange}"

    def permanent_binding(self, exchange: str) -> str:
        """The set of an exchange's bindings of queues that do not expire."""
        return f"{self.prefix}_kombu.binding_permanent.{exchange}"

    def begun(self, queue: str) -> str:
        """The zset of a queue's messages that must not run again, by when their leases end."""
        return f"{self.prefix}umbel:begun:{queue}"

    def consumers(self, queue: str) -> str:
        """The zset of umbel workers that consume a queue."""
        return f"{self.prefix}umbel:consumers:{queue}"


class Lists:
    """Everything about a choice of queues that is the same for every take."""

    def __init__(self, keys: Keys, queues: Sequence[str]) -> None:
        lists = keys.lists(queues)
        names = [name for name, _ in lists]
        self.queue_by_list = dict(lists)
        self.suffixes = [keys.suffix(queue) for _, queue in lists]
        self.keys = (
            keys.unacked,
            keys.unacked_index,
            keys.quarantine,
            keys.quarantine_index,
            keys.delayed,
            keys.wake,
            *names,
        )
        # Four commands; what they say is read in ``news.py``.
        self.look = (
            pack("CLIENT", "CACHING", "YES")
            + pack("EXISTS", keys.wake, *names)
            + pack("ZRANGE", keys.delayed, 0, 0, "WITHSCORES")
            + pack("TIME")
        )
