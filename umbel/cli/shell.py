"""``umbel shell``: Python with the app and its tasks at hand.

Source:
    Celery reference, "Command Line Interface", ``celery shell``: options, names that are there.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any, Literal

import click

from umbel.cli.options import UmbelCommand
from umbel.cli.session import Session, pass_session

__all__ = ["shell"]

_Kind = Literal["ipython", "bpython", "python"]

_KINDS: tuple[_Kind, ...] = ("ipython", "bpython", "python")
"""The best first."""
_MODULES = {"ipython": "IPython", "bpython": "bpython"}
_NAMES = (
    *("Task", "chord", "group", "chain", "chunks"),
    *("xmap", "xstarmap", "subtask", "signature"),
)


@click.command(cls=UmbelCommand)
@click.option("-I", "--ipython", is_flag=True, help="Use IPython.")
@click.option("-B", "--bpython", is_flag=True, help="Use bpython.")
@click.option("--python", is_flag=True, help="Use Python's own.")
@click.option("-T", "--without-tasks", is_flag=True, help="Do not add the tasks.")
@click.option("--eventlet", is_flag=True, help="Let eventlet patch the standard library first.")
@click.option("--gevent", is_flag=True, help="Let gevent patch the standard library first.")
@pass_session
def shell(
    session: Session, /, without_tasks: bool, eventlet: bool, gevent: bool, **kinds: bool
) -> None:
    """Start Python with the app ('app', 'celery'), its tasks by their functions' names, and
    Task, chain, chord, chunks, group, signature, subtask, xmap, xstarmap.

    IPython is used if it is installed, else bpython, else Python's own.
    """
    for wanted, library in ((eventlet, "eventlet"), (gevent, "gevent")):
        if wanted:
            _patch(library)
    kind = _kind(kinds)
    names = _namespace(session, with_tasks=not without_tasks)
    if kind == "ipython":
        # IPython is the user's to install.
        ipython: Any = importlib.import_module("IPython")
        ipython.start_ipython(argv=[], user_ns=names)
    elif kind == "bpython":
        # So is bpython.
        bpython: Any = importlib.import_module("bpython")
        bpython.embed(names, banner=_banner(session, names))
    else:
        _plain(session, names)


def _namespace(session: Session, *, with_tasks: bool) -> dict[str, Any]:
    # All public names: only a shell needs them.
    import umbel

    app = session.app
    session.import_tasks()
    names: dict[str, Any] = {"app": app, "celery": app}
    names.update((name, getattr(umbel, name)) for name in _NAMES)
    if with_tasks:
        names.update(
            (task.__name__, task)
            for name, task in app.tasks.items()
            if not name.startswith(("celery.", "umbel."))
        )
    return names


def _kind(kinds: dict[str, bool]) -> _Kind:
    """The one that was asked for, else the best that is installed."""
    asked: list[_Kind] = [kind for kind in _KINDS if kinds[kind]]
    if len(asked) > 1:
        raise click.UsageError(f"--{asked[0]} and --{asked[1]}: use one.")
    if not asked:
        return next(kind for kind in _KINDS if _is_installed(kind))
    if not _is_installed(asked[0]):
        raise click.UsageError(
            f"--{asked[0]}: {_MODULES[asked[0]]} is not installed: pip install {asked[0]}."
        )
    return asked[0]


def _is_installed(kind: _Kind) -> bool:
    module = _MODULES.get(kind)
    return module is None or importlib.util.find_spec(module) is not None


def _patch(library: str) -> None:
    try:
        # One of the extras gevent and eventlet.
        if library == "gevent":
            importlib.import_module("gevent.monkey").patch_all()
        else:
            importlib.import_module("eventlet").monkey_patch()
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"--{library}: {library} is not installed: pip install 'umbel[{library}]'."
        ) from error


def _plain(session: Session, names: dict[str, Any]) -> None:
    # Modules of people at a keyboard.
    import code

    try:
        # Not on every system.
        import readline
        import rlcompleter
    except ImportError:
        # No completion, then.
        pass
    else:
        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    code.interact(banner=_banner(session, names), exitmsg="", local=names)


def _banner(session: Session, names: dict[str, Any]) -> str:
    if session.quiet:
        return ""
    tasks = [name for name in names if name not in {"app", "celery", *_NAMES}]
    version = sys.version.split()[0]
    shown = f" Tasks: {', '.join(sorted(tasks))}." if tasks else ""
    return f"Python {version}, app {session.app.main!r}.{shown}"
