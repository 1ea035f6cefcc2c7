"""Printing events as they come.

Source:
    Celery reference, ``celery.events.dumper``: the form of the lines.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from umbel.clock import SystemClock
from umbel.events.recent import Recent
from umbel.exceptions import OperationalError

__all__ = ["Dumper", "evdump"]

_WORDS = {
    "worker-offline": "shutdown",
    "worker-online": "started",
    "worker-heartbeat": "heartbeat",
}
_PAUSE = 2.0
"""Seconds between two attempts to listen."""


class Dumper:
    """Writes a line for each event."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self._tasks: Recent[str, str] = Recent(4095)
        """What tasks are called, by id."""

    def say(self, msg: str) -> None:
        """Write a line."""
        self.out.write(f"{msg}\n")
        self.out.flush()

    def on_event(self, ev: dict[str, Any]) -> None:
        """Write what an event says."""
        event = dict(ev)
        moment = datetime.fromtimestamp(event.pop("timestamp", 0), UTC)
        type_ = str(event.pop("type")).lower()
        hostname = event.pop("hostname", "")
        task = self._task(type_, event) if type_.startswith("task-") else None
        fields = ", ".join(f"{name}={event[name]}" for name in sorted(event))
        word = _WORDS.get(type_) or type_.replace("-", " ")
        middle = f"{word}{':' if fields else ''}" + ("" if task is None else f" {task}")
        self.say(f"{hostname} [{moment}] {middle} {fields}")

    def _task(self, type_: str, event: dict[str, Any]) -> str:
        uuid = str(event.pop("uuid", ""))
        if type_ in {"task-received", "task-sent"}:
            self._tasks[uuid] = (
                f"{event.pop('name', '')}({uuid}) "
                f"args={event.pop('args', None)} kwargs={event.pop('kwargs', None)}"
            )
        return self._tasks.get(uuid, "")


def evdump(app: Any, out: TextIO | None = None) -> None:
    """Print all events until interrupted; after a lost connection goes on."""
    dumper = Dumper(out)
    dumper.say("-> evdump: starting capture...")
    clock = SystemClock()
    while True:
        try:
            app.events.Receiver(handlers={"*": dumper.on_event}).capture()
        except (KeyboardInterrupt, SystemExit):
            return
        except OperationalError as error:
            dumper.say(f"-> Connection lost, attempting reconnect: {error}")
            app.portal.call(clock.sleep, _PAUSE)
