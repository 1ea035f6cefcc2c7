"""The workers that the arguments of ``umbel multi`` name, and the options of each.

Source:
    Celery reference, ``celery.bin.multi``: forms of names, of options for some of the workers,
    and of templates.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from umbel.exceptions import UmbelError
from umbel.utils.nodenames import gethostname, host_format, node_format

__all__ = ["Node", "Parsed", "make_node", "nodes_of", "parse"]

_DEFAULTS = {
    "--pidfile": "/var/run/celery/%n.pid",
    "--logfile": "/var/log/celery/%n%I.log",
}
_SHORT_BY_LONG = {"--pidfile": "-p", "--logfile": "-f"}
_COMMAND = "-m umbel worker --detach"
_PROGRAMS = {"umbel", "celery"}
_GLOBAL = {
    *("-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"),
    *("-C", "--no-color", "-q", "--quiet", "--skip-checks", "--as-celery"),
}
"""Options that stand before the name of the worker's command."""
_FILES = {"--pidfile", "-p", "--logfile", "-f", "--workdir"}
"""Options where ``~`` is the home of whoever calls."""
_OWN = {
    *("--cmd", "--append", "--hostname", "-n", "--prefix", "--suffix", "--range-prefix"),
    "--executable",
}
"""Options for ``multi`` itself."""

Options = dict[str, str | None]


class Parsed(msgspec.Struct, frozen=True):
    """What stands on the command line."""

    names: list[str]
    options: Options
    """For all workers; None: a flag."""
    options_by_place: dict[str, Options]
    """For some of them: by what stands after the colon."""
    rest: list[str]
    """What stands after ``--``, with it."""


class Node(msgspec.Struct, frozen=True):
    """A worker as it is to be started."""

    name: str
    executable: str
    arguments: list[str]
    """For the executable."""
    pidfile: Path
    logfile: Path

    @property
    def argv(self) -> list[str]:
        """The whole command."""
        return [self.executable, *self.arguments]

    def expand(self, template: str) -> str:
        """A template, with the parts of the name filled in.

        >>> node = Node("w1@a.example.com", "python", [], Path("p"), Path("l"))
        >>> node.expand("%n on %d: %h, %N%I, 100%%")
        'w1 on a.example.com: w1@a.example.com, w1%I, 100%'
        """
        return _expand(self.name, template)


def parse(arguments: Iterable[str], takes_value: Callable[[str], bool | None]) -> Parsed:
    """Take the arguments apart.

    Args:
        takes_value: Whether the option takes a value; None: unknown. Then a short one takes
            what follows, unless that is an option; a long one has its value behind ``=``.

    >>> parse(["2", "-c", "3", "-Q:2", "mail", "--beat"], lambda _: None)
    Parsed(names=['2'], options={'-c': '3', '--beat': None}, \
options_by_place={'2': {'-Q': 'mail'}}, rest=[])
    """
    waiting = [argument for argument in arguments if argument]
    parsed = Parsed([], {}, {}, [])
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            parsed.rest.extend([argument, *waiting])
            break
        if not argument.startswith("-"):
            parsed.names.append(argument)
            continue
        value: str | None = None
        is_long = argument.startswith("--")
        if is_long and "=" in argument:
            argument, _, value = argument.partition("=")
        option, colon, place = argument.partition(":")
        if value is None:
            wanted = takes_value(option)
            if wanted is None:
                wanted = not is_long and bool(waiting) and not waiting[0].startswith("-")
            if wanted and waiting:
                value = waiting.pop(0)
        target = parsed.options_by_place.setdefault(place, {}) if colon else parsed.options
        target[option] = value
    return parsed


def nodes_of(parsed: Parsed, command: str | None = None) -> list[Node]:
    """The workers, in order.

    Raises:
        UmbelError: An option is for a worker that is not there.
    """
    options = dict(parsed.options)
    hostname = options.pop("--hostname", None) or options.pop("-n", None) or gethostname()
    suffix = options.pop("--suffix", None) or hostname
    prefix = options.pop("--prefix", None) or ""
    range_prefix = options.pop("--range-prefix", None) or "celery"
    command = options.pop("--cmd", None) or command or _COMMAND
    append = options.pop("--append", None)
    names, counted = parsed.names, False
    if len(names) == 1 and names[0].isdigit():
        names, counted = [str(number) for number in range(1, int(names[0]) + 1)], True
    by_name = _by_name(parsed.options_by_place, names, counted=counted)
    made: list[Node] = []
    for name in names:
        whole = _node_name(name, range_prefix if counted else prefix, suffix)
        short = whole.partition("@")[0] if "@" in name else name
        own = by_name.get(whole) or by_name.get(name) or by_name.get(short) or {}
        made.append(make_node(whole, {**options, **own}, command, append, parsed.rest))
    return made


def _node_name(name: str, prefix: str, suffix: str) -> str:
    if "@" in name:
        return host_format(name)
    return host_format(f"{prefix}{name}@{'' if suffix in {chr(34) * 2, chr(39) * 2} else suffix}")


def _by_name(
    options_by_place: Mapping[str, Options], names: Sequence[str], *, counted: bool
) -> dict[str, Options]:
    made: dict[str, Options] = {}
    for place, options in options_by_place.items():
        for name in _names_at(place, names, counted=counted):
            made.setdefault(name, {}).update(options)
    return made


def _names_at(place: str, names: Sequence[str], *, counted: bool) -> list[str]:
    """The workers that ``1``, ``1,3``, ``1-3``, ``name`` or ``name,name`` stands for."""
    found: list[str] = []
    for part in place.split(","):
        limits = re.fullmatch(r"(\d+)-(\d+)", part) if counted else None
        if limits is not None:
            # Beyond the last one there is nobody: '-Q:1-5' may be meant for any number.
            found += names[max(int(limits[1]), 1) - 1 : int(limits[2])]
        elif part.isdigit():
            if not 0 < int(part) <= len(names):
                raise UmbelError(
                    f"No node at index {part!r}: there are {len(names)}, counted from 1."
                )
            found.append(names[int(part) - 1])
        else:
            found.append(part)
    return found


def make_node(
    name: str, options: Options, command: str, append: str | None, rest: Sequence[str]
) -> Node:
    """A worker by its name.

    Args:
        options: Those that are missing are added.
        command: What is started, for the interpreter.
        append: What is put behind the arguments, with templates.
        rest: What is put behind the options.
    """
    executable = str(Path(options.get("--executable") or sys.executable).expanduser())
    for long, default in _DEFAULTS.items():
        if long not in options and _SHORT_BY_LONG[long] not in options:
            options[long] = default
    words = [_expand(name, word) for word in shlex.split(command)]
    start = next((words.index(word) + 1 for word in words if word in _PROGRAMS), len(words))
    first: list[str] = []
    then = ["-n", name]
    files: dict[str, Path] = {}
    for option, value in options.items():
        if option in _OWN:
            continue
        text = None if value is None else _expand(name, value)
        if text is not None and option in _FILES:
            text = str(Path(text).expanduser())
            files[option] = Path(node_format(text, name))
        (first if option in _GLOBAL else then).extend(_written(option, text))
    arguments = [*words[:start], *first, *words[start:], *then, *rest]
    if append:
        arguments += shlex.split(_expand(name, append))
    return Node(
        name,
        executable,
        arguments,
        files.get("--pidfile") or files["-p"],
        files.get("--logfile") or files["-f"],
    )


def _written(option: str, value: str | None) -> list[str]:
    if value is None:
        return [option]
    if option == "-p":
        # Short for multi only.
        return [f"--pidfile={value}"]
    return [f"{option}={value}"] if option.startswith("--") else [option, value]


def _expand(name: str, template: str) -> str:
    short, _, host = name.partition("@")
    # %i and %I are left to the worker, whose processes they number.
    value_by_letter = {"n": short, "N": short, "h": name, "p": name, "d": host, "%": "%"}
    return re.sub("%(.)", lambda found: value_by_letter.get(found[1], found[0]), template)
