"""The terminal screen of ``umbel events``.

Source:
    Celery user guide, Monitoring, "celery events: Curses Monitor": keys and columns.
"""

from __future__ import annotations

import curses
import logging
import threading
from asyncio import CancelledError
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from textwrap import wrap
from typing import Any

from umbel import states
from umbel.exceptions import OperationalError
from umbel.utils.text import abbr, abbrtask

__all__ = ["CursesMonitor", "evtop"]

logger = logging.getLogger(__name__)

_REFRESH_MS = 500
_LOOK = 0.2
"""Seconds after which the listener looks whether to go on."""
_PAUSE = 2.0
"""Seconds between two attempts to listen."""
_PATIENCE = 2.0
"""Seconds that quitting waits for the listener."""
_HELP = "j:down k:up i:info t:traceback r:result c:revoke l:limit q:quit"
_TITLES = ("UUID", "TASK", "WORKER", "TIME", "STATE")


class CursesMonitor:
    """Shows the latest tasks and the workers; the selected task can be looked into and revoked."""

    def __init__(self, state: Any, app: Any) -> None:
        self.state = state
        self.app = app
        self.selected: str | None = None
        self._window: Any = None
        self._top = 0
        self._actions: dict[str, Callable[[], None]] = {
            "j": lambda: self._move(1),
            "J": lambda: self._move(1),
            "k": lambda: self._move(-1),
            "K": lambda: self._move(-1),
            "KEY_DOWN": lambda: self._move(1),
            "KEY_UP": lambda: self._move(-1),
            "i": self._show_info,
            "t": self._show_traceback,
            "r": self._show_result,
            "c": self._revoke,
            "l": self._limit,
        }

    def run(self, window: Any) -> None:
        """Show the screen until ``q``."""
        self._window = window
        curses.use_default_colors()
        curses.curs_set(0)
        for number, color in enumerate(
            (curses.COLOR_GREEN, curses.COLOR_RED, curses.COLOR_YELLOW, curses.COLOR_CYAN), 1
        ):
            curses.init_pair(number, color, -1)
        window.timeout(_REFRESH_MS)
        while True:
            self.draw()
            try:
                key = window.getkey()
            except curses.error:
                # Nobody has pressed one.
                continue
            if key in {"q", "Q"}:
                return
            action = self._actions.get(key)
            if action is not None:
                action()

    def draw(self) -> None:
        """Draw everything."""
        window = self._window
        window.erase()
        height, width = window.getmaxyx()
        rows = self.rows(max(0, height - 9))
        self._put(0, "  ".join((*_columns(_TITLES, width),)), curses.A_BOLD | curses.A_UNDERLINE)
        if not rows:
            self._put(2, "No tasks yet: start workers with -E, or 'umbel control enable_events'.")
        for line, (uuid, task) in enumerate(rows, 1):
            attribute = _color(task.state)
            if uuid == self.selected:
                attribute |= curses.A_REVERSE
            self._put(line, "  ".join(_columns(_row(uuid, task), width)), attribute)
        self._draw_foot(height)
        window.refresh()

    def rows(self, limit: int) -> list[tuple[str, Any]]:
        """The latest tasks, the newest first; one of them is selected if there are any."""
        rows: list[tuple[str, Any]] = list(islice(self.state.tasks_by_time(), limit))
        if rows and self.selected not in {uuid for uuid, _ in rows}:
            self.selected = rows[0][0]
        return rows

    def _draw_foot(self, height: int) -> None:
        state = self.state
        task = state.tasks.peek(self.selected) if self.selected else None
        if task is not None:
            info = ", ".join(f"{name}={value}" for name, value in task.info().items())
            self._put(height - 6, f"Selected: {info}")
        workers = ", ".join(
            f"{worker.hostname}{'' if worker.alive else ' (offline)'}"
            for worker in state.workers.values()
        )
        alive = sum(1 for _ in state.alive_workers())
        self._put(height - 4, f"Workers online: {workers or 'none'}")
        self._put(
            height - 3,
            f"Info: events:{state.event_count} tasks:{state.task_count} "
            f"workers:{alive}/{len(state.workers)}",
        )
        self._put(height - 2, f"Keys: {_HELP}", curses.color_pair(4))

    def _put(self, line: int, text: str, attribute: int = 0) -> None:
        height, width = self._window.getmaxyx()
        if 0 <= line < height:
            self._window.addnstr(line, 0, text, max(0, width - 1), attribute)

    def _move(self, by: int) -> None:
        uuids = [uuid for uuid, _ in self.rows(1000)]
        if not uuids or self.selected is None:
            return
        place = uuids.index(self.selected) + by
        self.selected = uuids[min(max(place, 0), len(uuids) - 1)]

    def _task(self) -> Any:
        return self.state.tasks.peek(self.selected) if self.selected else None

    def _show_info(self) -> None:
        task = self._task()
        if task is not None:
            lines = [f"{name}: {value}" for name, value in task.info(extra=["state"]).items()]
            self._page(f"Task {task.name} [{task.uuid}]", lines)

    def _show_traceback(self) -> None:
        task = self._task()
        if task is not None:
            self._page("Traceback", str(task.traceback or "There is none.").splitlines())

    def _show_result(self) -> None:
        task = self._task()
        if task is None:
            return
        if task.state in states.EXCEPTION_STATES:
            shown = task.exception
        else:
            shown = task.result or self.app.AsyncResult(task.uuid).info
        self._page("Result", [str(shown)])

    def _revoke(self) -> None:
        if self.selected:
            self._page_replies("Revoked", self.app.control.revoke(self.selected, reply=True))

    def _limit(self) -> None:
        task = self._task()
        if task is None:
            return
        height, _ = self._window.getmaxyx()
        self._put(height - 1, f"New rate limit of {task.name} (10/s, 5/m, 0 for none): ")
        curses.echo()
        self._window.timeout(-1)
        rate = self._window.getstr(20).decode(errors="replace").strip()
        self._window.timeout(_REFRESH_MS)
        curses.noecho()
        if rate:
            replies = self.app.control.rate_limit(task.name, rate, reply=True)
            self._page_replies("Rate limit", replies)

    def _page_replies(self, title: str, replies: Any) -> None:
        lines = [f"{node}: {value}" for reply in replies or () for node, value in reply.items()]
        self._page(title, lines or ["No nodes replied within time constraint"])

    def _page(self, title: str, lines: list[str]) -> None:
        """Show lines until a key is pressed."""
        self._window.erase()
        height, width = self._window.getmaxyx()
        self._put(0, title, curses.A_BOLD)
        parts = [part for line in lines for part in wrap(line, max(10, width - 4)) or [""]]
        for number, part in enumerate(parts[: max(0, height - 4)], 2):
            self._put(number, f"  {part}")
        self._put(height - 1, "Press any key to go back.", curses.color_pair(4))
        self._window.timeout(-1)
        self._window.getkey()
        self._window.timeout(_REFRESH_MS)


def evtop(app: Any) -> None:
    """Show the screen until ``q`` or an interrupt."""
    state = app.events.State()
    monitor = CursesMonitor(state, app)
    capture = _Capture(app, state)
    capture.start()
    try:
        curses.wrapper(monitor.run)
    except KeyboardInterrupt:
        return
    finally:
        capture.end()


class _Capture(threading.Thread):
    """Fills the state with events until it is told to end."""

    def __init__(self, app: Any, state: Any) -> None:
        # A daemon: where a broker that is away holds it up, it ends with the process.
        super().__init__(name="umbel-events", daemon=True)
        self._app = app
        self._ended = threading.Event()
        self._receiver = app.events.Receiver(handlers={"*": state.event})
        self._receiver.on_idle = lambda: _LOOK

    def run(self) -> None:
        """Listen, again after each lost connection."""
        while not self._ended.is_set():
            try:
                self._receiver.capture()
            except OperationalError as error:
                # The screen is no place for it; it shows soon enough that nothing comes.
                logger.warning("Connection lost, attempting reconnect: %s", error)
                self._ended.wait(_PAUSE)
            except CancelledError:
                # The app was closed while the broker held us up.
                return

    def end(self) -> None:
        """Stop listening; what it needs of the app is closed after that."""
        self._receiver.should_stop = True
        self._ended.set()
        self.join(_PATIENCE)


def _row(uuid: str, task: Any) -> tuple[str, ...]:
    worker = task.worker.hostname if task.worker is not None else ""
    moment = datetime.fromtimestamp(task.timestamp or 0, UTC).astimezone()
    return uuid, task.name or "", worker or "", f"{moment:%H:%M:%S}", task.state


def _columns(cells: tuple[str, ...], width: int) -> list[str]:
    """The cells, each as wide as its column.

    >>> _columns(("id", "add", "celery@a1", "12:00:00", "SUCCESS"), 80)[3:]
    ['12:00:00', 'SUCCESS ']
    """
    rest = max(30, width - 8 - 8 - 8)
    widths = (min(36, rest // 3), rest // 3, rest // 3 - 2, 8, 8)
    shorten = (abbr, abbrtask, abbr, abbr, abbr)
    return [
        make(cell, size).ljust(size) if cell else "".ljust(size)
        for make, cell, size in zip(shorten, cells, widths, strict=True)
    ]


def _color(state: str) -> int:
    if state == states.SUCCESS:
        return curses.color_pair(1)
    if state in states.EXCEPTION_STATES:
        return curses.color_pair(2)
    return curses.color_pair(3) if state == states.STARTED else 0
