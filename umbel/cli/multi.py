"""``umbel multi``: several workers in the background, by their names.

Source:
    Celery reference, ``celery.bin.multi``: commands, options, what is printed, exit codes.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import IO

import click

from umbel import __version__
from umbel.cli.daemon import pid_in
from umbel.cli.nodes import Node, nodes_of, parse
from umbel.cli.session import Session, pass_session
from umbel.cli.worker import worker
from umbel.compat.platforms.pidfile import is_alive
from umbel.exceptions import UmbelError
from umbel.utils.text import pluralize

__all__ = ["MultiTool", "multi"]

_USAGE = """\
usage: umbel multi start <node1 node2 nodeN|count> [worker options]
       umbel multi stop <n1 n2 nN|count> [-SIG (default: -TERM)]
       umbel multi stopwait <n1 n2 nN|count> [-SIG]
       umbel multi restart <n1 n2 nN|count> [-SIG] [worker options]
       umbel multi kill <n1 n2 nN|count>

       umbel multi show <n1 n2 nN|count> [worker options]
       umbel multi get <node> <n1 n2 nN|count> [worker options]
       umbel multi names <n1 n2 nN|count>
       umbel multi expand <template> <n1 n2 nN|count>
       umbel multi help

options of multi itself (after the command's name):

    --nosplash    Do not say which program this is.
    -q, --quiet   Say nothing that is not asked for.
    --verbose     Say what is started.
    --no-color    Use no colours.

of the workers: -c 3 is for all of them, -c:1 3 for the first, -c:1,3 3 for the first and the
third, -c:mail 3 for the one called mail; with a count, -Q:1-3 mail is for the first three.
--pidfile (/var/run/celery/%n.pid) and --logfile (/var/log/celery/%n%I.log) are templates.
"""

_LOOK_EVERY = 0.1
_RESERVED = {
    "--nosplash": "nosplash",
    "--quiet": "quiet",
    "-q": "quiet",
    "--verbose": "verbose",
    "--no-color": "no_color",
}
_FAILED = 1


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="\b\n" + _USAGE.replace("\n\n", "\n\n\b\n"),
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@pass_session
def multi(session: Session, /, arguments: Sequence[str]) -> int:
    """Start, stop and restart several workers in the background."""
    # Options before the word 'multi' are the workers', as if they stood behind.
    before = session.argv[: len(session.argv) - len(arguments) - 1]
    return _execute(arguments, before, no_color=session.no_color)


def _execute(
    arguments: Sequence[str],
    before: Sequence[str] = (),
    *,
    no_color: bool = False,
    command: str | None = None,
    env: Mapping[str, str] | None = None,
) -> int:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    words = [*arguments[:end], *before, *arguments[end:]]
    said = {_RESERVED[word] for word in words if word in _RESERVED}
    words = [word for word in words if word not in _RESERVED]
    tool = _Multi(
        quiet="quiet" in said,
        verbose="verbose" in said,
        colored=not (no_color or "no_color" in said),
        command=command,
        env=env,
    )
    name = arguments[0] if arguments else ""
    if name not in _COMMANDS:
        if name:
            click.echo(f"Invalid command: {name}", err=True)
        click.echo(_USAGE)
        return _FAILED
    if name not in _QUIET_COMMANDS and "nosplash" not in said:
        tool.note(tool.style(f"umbel multi v{__version__}", fg="cyan"))
    return _COMMANDS[name](tool, words[1:])


class MultiTool:
    """``umbel multi`` for programs.

    Args:
        env: The workers' environment; None: this process's.
        cmd: What is started, for Python; None: ``-m umbel worker --detach``.
        stdout: A file, instead of the standard output; ``fh`` too.
        options: ``nosplash``, ``quiet``, ``verbose``, ``no_color``.

    Source:
        Celery reference, ``celery.bin.multi``.
    """

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        cmd: str | None = None,
        fh: IO[str] | None = None,
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
        **options: bool,
    ) -> None:
        self.env = env
        self.cmd = cmd
        self.stdout = stdout or fh
        self.stderr = stderr
        self._said = [f"--{name.replace('_', '-')}" for name, on in options.items() if on]

    def execute_from_commandline(self, argv: Sequence[str], cmd: str | None = None) -> int:
        """Run a command; returns its exit code.

        Args:
            argv: With the program's name.
        """
        with (
            redirect_stdout(self.stdout or sys.stdout),
            redirect_stderr(self.stderr or sys.stderr),
        ):
            words = [word for word in argv[1:] if word not in _RESERVED]
            said = [word for word in argv[1:] if word in _RESERVED]
            return _execute(words, [*self._said, *said], command=cmd or self.cmd, env=self.env)


class _Multi:
    """The commands."""

    def __init__(
        self,
        *,
        quiet: bool,
        verbose: bool,
        colored: bool,
        command: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._env = env
        self._quiet = quiet
        self._verbose = verbose
        self._colored = colored

    def start(self, words: list[str]) -> int:
        """Start workers."""
        nodes = self._nodes(words)
        self.note("> Starting nodes...")
        codes: list[int] = []
        for node in nodes:
            self.note(f"\t> {node.name}: ", newline=False)
            codes.append(self._start(node))
        return int(any(codes))

    def stop(self, words: list[str]) -> int:
        """Tell workers to end."""
        number, words = _signal_in(words)
        self._signal(self._nodes(words), number, self._down)
        return 0

    def stopwait(self, words: list[str]) -> int:
        """Tell workers to end, and wait until they have."""
        number, words = _signal_in(words)
        self._wait(self._signal(self._nodes(words), number, self._down), self._ended)
        return 0

    def restart(self, words: list[str]) -> int:
        """Tell workers to end, and start each again once it has; start those that are down."""
        number, words = _signal_in(words)
        codes: list[int] = []

        def again(node: Node) -> None:
            self.note(self.style(f"> Restarting node {node.name}: ", fg="blue"), newline=False)
            codes.append(self._start(node))

        def ended(node: Node) -> None:
            self._ended(node)
            again(node)

        self._wait(self._signal(self._nodes(words), number, again), ended)
        return int(any(codes))

    def kill(self, words: list[str]) -> int:
        """End workers at once; what they were doing is done again or failed by others."""
        number = getattr(signal, "SIGKILL", signal.SIGTERM)
        for node in self._nodes(words):
            pid = pid_in(node.pidfile)
            if pid is None:
                self._down(node)
                continue
            self.note(f"Sending {number.name} to node {node.name} ({pid})")
            self._send(node, pid, number)
        return 0

    def names(self, words: list[str]) -> int:
        """Print the names of the workers."""
        return _print(node.name for node in self._nodes(words))

    def show(self, words: list[str]) -> int:
        """Print the commands that would start the workers."""
        return _print(shlex.join(node.argv) for node in self._nodes(words))

    def get(self, words: list[str]) -> int:
        """Print the arguments of one of the workers."""
        if not words:
            raise click.UsageError("get what? umbel multi get <node> <n1 n2 nN|count>")
        found = [node for node in self._nodes(words[1:]) if node.name == words[0]]
        return _print(shlex.join(node.arguments) for node in found) if found else _FAILED

    def expand(self, words: list[str]) -> int:
        """Print a template, filled in for each of the workers."""
        if not words:
            raise click.UsageError("expand what? umbel multi expand <template> <n1 n2 nN|count>")
        return _print(node.expand(words[0]) for node in self._nodes(words[1:]))

    def help(self, _words: list[str]) -> int:
        """Print how it is used."""
        return _print([_USAGE])

    # Inside -------------------------------------------------------------------------------

    def _nodes(self, words: Sequence[str]) -> list[Node]:
        return nodes_of(parse(words, _takes_value), self._command)

    def _start(self, node: Node) -> int:
        for path in (node.pidfile, node.logfile):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                self.note(self.style("FAILED", fg="red"))
                raise UmbelError(
                    f"cannot make the folder {path.parent}: {error.strerror}. Say another with "
                    "--pidfile and --logfile."
                ) from error
        if self._verbose:
            self.note(f"  {shlex.join(node.argv)}")
        # What it prints belongs after what we have.
        sys.stdout.flush()
        code = subprocess.run(  # noqa: S603 - what was typed in
            node.argv, env=self._env, check=False
        ).returncode
        if code:
            how = f"was terminated by signal {-code}" if code < 0 else f"exited with code {code}"
            self.note(f"* Child {how}")
        self.note(self.style("FAILED", fg="red") if code else self.style("OK", fg="green"))
        return abs(code)

    def _signal(
        self, nodes: Sequence[Node], number: signal.Signals, down: Callable[[Node], None]
    ) -> list[tuple[Node, int]]:
        """Send a signal to those that are up; returns them, with their processes."""
        up: list[tuple[Node, int]] = []
        for node in nodes:
            pid = pid_in(node.pidfile)
            if pid is None:
                down(node)
            else:
                up.append((node, pid))
        if up:
            self.note(self.style("> Stopping nodes...", fg="blue"))
        told: list[tuple[Node, int]] = []
        for node, pid in up:
            self.note(f"\t> {node.name}: {number.name[3:]} -> {pid}")
            if self._send(node, pid, number):
                told.append((node, pid))
            else:
                down(node)
        return told

    def _wait(self, ending: list[tuple[Node, int]], ended: Callable[[Node], None]) -> None:
        while ending:
            count = len(ending)
            pids = ", ".join(str(pid) for _, pid in ending)
            waiting = f"> Waiting for {count} {pluralize(count, 'node')} -> {pids}..."
            self.note(self.style(waiting, fg="blue"))
            while len(still := [pair for pair in ending if is_alive(pair[1])]) == count:
                time.sleep(_LOOK_EVERY)
            for pair in ending:
                if pair not in still:
                    ended(pair[0])
            ending = still

    def _send(self, node: Node, pid: int, number: signal.Signals) -> bool:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError, OverflowError):
            # Gone; or its number belongs to somebody else's process by now.
            self.note(f"Could not signal {node.name} ({pid}): No such process")
            return False
        return True

    def _ended(self, node: Node) -> None:
        self.note(f"\t> {node.name}: {self.style('OK', fg='green')}")

    def _down(self, node: Node) -> None:
        self.note(f"> {node.name}: {self.style('DOWN', fg='magenta')}")

    def note(self, text: str, *, newline: bool = True) -> None:
        """Say something that ``--quiet`` silences."""
        if not self._quiet:
            click.echo(text, nl=newline)

    def style(self, text: str, fg: str) -> str:
        """The text in a colour."""
        return click.style(text, fg=fg) if self._colored else text


_COMMANDS: dict[str, Callable[[_Multi, list[str]], int]] = {
    "start": _Multi.start,
    "show": _Multi.show,
    "stop": _Multi.stop,
    "stopwait": _Multi.stopwait,
    "stop_verify": _Multi.stopwait,
    "restart": _Multi.restart,
    "kill": _Multi.kill,
    "names": _Multi.names,
    "expand": _Multi.expand,
    "get": _Multi.get,
    "help": _Multi.help,
}
_QUIET_COMMANDS = {"names", "expand", "get", "show", "help"}


def _takes_value(option: str) -> bool | None:
    """Whether an option of the worker takes a value; None: it is not one of the worker's."""
    for parameter in worker.params:
        if option in (*parameter.opts, *parameter.secondary_opts):
            return isinstance(parameter, click.Option) and not parameter.is_flag
    return None


def _signal_in(words: Sequence[str]) -> tuple[signal.Signals, list[str]]:
    """The signal that ``-9``, ``-KILL`` or ``-SIGKILL`` asks for, and the other words."""
    number, others = signal.SIGTERM, list(words)
    for word in words:
        name = word[1:] if word.startswith("-") and not word.startswith("--") else ""
        known = signal.Signals.__members__
        found = known.get(name) or known.get(f"SIG{name}")
        if name.isdigit() and int(name) in {each.value for each in signal.Signals}:
            found = signal.Signals(int(name))
        if found is not None:
            number = found
            others.remove(word)
    return number, others


def _print(lines: Iterable[str]) -> int:
    for line in lines:
        click.echo(line)
    return 0
