"""``celery.apps.multi``: workers in the background, for programs; people say ``umbel multi``.

Source:
    Celery internals reference, ``celery.apps.multi``: names, and who is told what.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import UserList
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from umbel.cli.daemon import pid_in
from umbel.cli.nodes import make_node
from umbel.compat.platforms.pidfile import is_alive
from umbel.compat.platforms.signals import signal_name
from umbel.utils.saferepr import saferepr

__all__ = ["Cluster", "Node"]

Told = Callable[..., object] | None

_CELERYS, _OURS = "-m celery ", "-m umbel "


class Node:
    """A worker that is started in the background.

    Args:
        name: ``name@host``.
        cmd: What is started, for Python: ``-m umbel worker --detach`` unless said.
        append: What is put behind the arguments.
        options: Of the worker, with their values; an empty one is a flag.
        extra_args: What is put behind them, too.
    """

    def __init__(
        self,
        name: str,
        cmd: str | None = None,
        append: str | None = None,
        options: Mapping[str, str | None] | None = None,
        extra_args: str | None = None,
    ) -> None:
        self.name = name
        self.cmd = (cmd or "-m umbel worker --detach").replace(_CELERYS, _OURS)
        self.append = append
        self.extra_args = extra_args or ""
        given = {option: value or None for option, value in (options or {}).items()}
        # Python splits what Celery leaves to the shell.
        self._node = make_node(name, given, self.cmd, append, self.extra_args.split())
        self.options: dict[str, str | None] = {"-n": name, **given}
        self._pid: int | None = None

    @classmethod
    def from_kwargs(cls, name: str, **kwargs: Any) -> Node:
        """The same with ``concurrency=3`` for ``--concurrency=3``, and ``c=3`` for ``-c 3``."""
        options = {
            f"--{key.replace('_', '-')}" if len(key) > 1 else f"-{key}": str(value)
            for key, value in kwargs.items()
        }
        return cls(name, options=options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}>"

    @property
    def executable(self) -> str:
        """The interpreter."""
        return self._node.executable

    @property
    def argv(self) -> tuple[str, ...]:
        """The arguments of the interpreter."""
        return tuple(self._node.arguments)

    @property
    def argv_with_executable(self) -> tuple[str, ...]:
        """The whole command."""
        return (self.executable, *self.argv)

    @property
    def pidfile(self) -> str:
        """The file with its process id."""
        return str(self._node.pidfile)

    @property
    def logfile(self) -> str:
        """Its log file."""
        return str(self._node.logfile)

    @property
    def pid(self) -> int | None:
        """Its process; None: there is none."""
        return pid_in(self._node.pidfile) if self._pid is None else self._pid

    @pid.setter
    def pid(self, value: int | None) -> None:
        self._pid = value

    def expander(self, template: str) -> str:
        """A template, with the parts of the name filled in."""
        return self._node.expand(template)

    def getopt(self, *alt: str) -> str | None:
        """The value of an option, by one of its names.

        Raises:
            KeyError: It was not given.
        """
        for option in alt:
            if option in self.options:
                return self.options[option]
        raise KeyError(alt[0])

    def alive(self) -> bool | None:
        """Whether its process is there; None: nobody knows which it is."""
        return self.send(0)

    def send(self, sig: int, on_error: Told = None) -> bool | None:
        """Send its process a signal; None: nobody knows which it is.

        Args:
            on_error: Called with this node when there is no such process.
        """
        pid = self.pid
        if not pid:
            _tell(on_error, self)
            return None
        try:
            os.kill(pid, sig)
        except (ProcessLookupError, PermissionError, OverflowError):
            # Gone; or its number belongs to somebody else's process by now.
            _tell(on_error, self)
            return False
        return True

    def start(
        self,
        env: Mapping[str, str] | None = None,
        on_spawn: Told = None,
        on_signalled: Told = None,
        on_failure: Told = None,
        **_kwargs: Any,
    ) -> int:
        """Start it, and wait until it has gone into the background; returns an exit code.

        Args:
            env: Its environment; None: this process's.
        """
        for path in (self._node.pidfile, self._node.logfile):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        command = list(self.argv_with_executable)
        _tell(on_spawn, self, argstr=" ".join(command), env=env)
        code = subprocess.run(command, env=env, check=False).returncode  # noqa: S603 - as asked for
        return self.handle_process_exit(code, on_signalled, on_failure)

    def handle_process_exit(
        self, retcode: int, on_signalled: Told = None, on_failure: Told = None
    ) -> int:
        """Tell who wants to know how it has ended; returns an exit code."""
        if retcode < 0:
            _tell(on_signalled, self, -retcode)
        elif retcode:
            _tell(on_failure, self, retcode)
        return abs(retcode)


class Cluster(UserList[Node]):
    """Workers that are started and stopped together.

    Args:
        nodes: They.
        env: Their environment; None: this process's.
        on_stopping_preamble: Called with those that will be told to end.
        on_send_signal: Called with each, and the signal, before it is told.
        on_still_waiting_for: Called with those that have not ended, when that changes.
        on_still_waiting_progress: Likewise, each time it was looked.
        on_still_waiting_end: Called when all have ended.
        on_node_start: Called before one is started.
        on_node_restart: Called before one is started again.
        on_node_shutdown_ok: Called when one has ended.
        on_node_status: Called with one, and its exit code, once it was started.
        on_node_signal: Called with one, and a signal that is not to end it.
        on_node_signal_dead: Called with one that was gone when it was told.
        on_node_down: Called with one that does not run.
        on_child_spawn: Called with one, and the command that starts it.
        on_child_signalled: Called with one, and the signal that has ended the command.
        on_child_failure: Called with one, and the exit code of the command.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        cmd: str | None = None,
        env: Mapping[str, str] | None = None,
        on_stopping_preamble: Told = None,
        on_send_signal: Told = None,
        on_still_waiting_for: Told = None,
        on_still_waiting_progress: Told = None,
        on_still_waiting_end: Told = None,
        on_node_start: Told = None,
        on_node_restart: Told = None,
        on_node_shutdown_ok: Told = None,
        on_node_status: Told = None,
        on_node_signal: Told = None,
        on_node_signal_dead: Told = None,
        on_node_down: Told = None,
        on_child_spawn: Told = None,
        on_child_signalled: Told = None,
        on_child_failure: Told = None,
    ) -> None:
        super().__init__()
        self.data = list(nodes)
        self.cmd = cmd
        self.env = env
        self.on_stopping_preamble = on_stopping_preamble
        self.on_send_signal = on_send_signal
        self.on_still_waiting_for = on_still_waiting_for
        self.on_still_waiting_progress = on_still_waiting_progress
        self.on_still_waiting_end = on_still_waiting_end
        self.on_node_start = on_node_start
        self.on_node_restart = on_node_restart
        self.on_node_shutdown_ok = on_node_shutdown_ok
        self.on_node_status = on_node_status
        self.on_node_signal = on_node_signal
        self.on_node_signal_dead = on_node_signal_dead
        self.on_node_down = on_node_down
        self.on_child_spawn = on_child_spawn
        self.on_child_signalled = on_child_signalled
        self.on_child_failure = on_child_failure

    @property
    def nodes(self) -> list[Node]:
        """They."""
        return self.data

    def __repr__(self) -> str:
        names = saferepr([node.name for node in self])
        return f"<{type(self).__name__}({len(self)}): {names}>"

    def find(self, name: str) -> Node:
        """The one of that name.

        Raises:
            KeyError: There is none.
        """
        for node in self:
            if node.name == name:
                return node
        raise KeyError(name)

    def start(self) -> list[int]:
        """Start all; returns their exit codes."""
        return [self.start_node(node) for node in self]

    def start_node(self, node: Node) -> int:
        """Start one; returns its exit code."""
        _tell(self.on_node_start, node)
        return self._start(node)

    def _start(self, node: Node) -> int:
        code = node.start(
            self.env,
            on_spawn=self.on_child_spawn,
            on_signalled=self.on_child_signalled,
            on_failure=self.on_child_failure,
        )
        _tell(self.on_node_status, node, code)
        return code

    def getpids(self, on_down: Told = None) -> Iterator[Node]:
        """Those that run; ``on_down`` is called with each of the others."""
        for node in self:
            if node.pid:
                yield node
            else:
                _tell(on_down, node)

    def send_all(self, sig: int) -> None:
        """Send all a signal that is not to end them."""
        for node in self.getpids(on_down=self.on_node_down):
            _tell(self.on_node_signal, node, signal_name(sig))
            node.send(sig, self.on_node_signal_dead)

    def kill(self) -> None:
        """End all at once."""
        self.send_all(getattr(signal, "SIGKILL", signal.SIGTERM))

    def restart(self, sig: int = signal.SIGTERM) -> list[int]:
        """Tell all to end, and start each again once it has; returns their exit codes."""
        codes: list[int] = []

        def again(node: Node) -> None:
            _tell(self.on_node_restart, node)
            codes.append(self._start(node))

        self.stop(retry=2, callback=again, sig=sig)
        return codes

    def stop(
        self, retry: float | None = None, callback: Told = None, sig: int = signal.SIGTERM
    ) -> None:
        """Tell all to end.

        Args:
            retry: Seconds between two looks whether they have; None: nobody waits.
            callback: Called with each that does not run, or has ended.
        """
        down = self.on_node_down if callback is None else callback
        running = list(self.getpids(on_down=down))
        if running:
            for node in self.shutdown_nodes(running, sig=sig, retry=retry):
                _tell(down, node)

    def stopwait(
        self, retry: float | None = 2, callback: Told = None, sig: int = signal.SIGTERM
    ) -> None:
        """Tell all to end, and wait until they have."""
        self.stop(retry=retry, callback=callback, sig=sig)

    def shutdown_nodes(
        self, nodes: Sequence[Node], sig: int = signal.SIGTERM, retry: float | None = None
    ) -> Iterator[Node]:
        """Tell these to end; gives those that have, or were gone."""
        _tell(self.on_stopping_preamble, nodes)
        ending: dict[Node, int] = {}
        for node in nodes:
            _tell(self.on_send_signal, node, signal_name(sig))
            pid = node.pid
            if node.send(sig, self.on_node_signal_dead) and pid:
                ending[node] = pid
            else:
                yield node
        if not retry:
            return
        _tell(self.on_still_waiting_for, set(ending))
        while ending:
            # By the process it was: its file goes first, and may name another one soon.
            for node in [node for node, pid in ending.items() if not is_alive(pid)]:
                del ending[node]
                _tell(self.on_node_shutdown_ok, node)
                yield node
                _tell(self.on_still_waiting_for, set(ending))
            if ending:
                _tell(self.on_still_waiting_progress, set(ending))
                time.sleep(retry)
        _tell(self.on_still_waiting_end)


def _tell(told: Told, *args: Any, **kwargs: Any) -> None:
    if told is not None:
        told(*args, **kwargs)
