"""The processes that run tasks: how their runner is made, and what is told about them."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.app.current import get_current_app, is_default_of_process
from umbel.result.blocking import forbid_waiting

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.protocols import Interrupts, Runner

__all__ = ["Origin", "ProcessRunner", "runner_of_app", "runner_of_origin"]


class ProcessRunner:
    """The app's runner in a process that does nothing else: says when that begins and ends.

    Source:
        Celery user guide, Signals, ``worker_process_init`` and ``worker_process_shutdown``.
    """

    def __init__(self, app: Umbel, hostname: str) -> None:
        forbid_waiting()
        self._app = app
        self._hostname = hostname
        self._inner = app.make_runner(hostname)
        # Called per request: without a detour.
        self.run = self._inner.run
        self.arun = self._inner.arun
        self.is_async = self._inner.is_async

    def open(self, interrupts: Interrupts) -> None:
        """The process begins to run tasks."""
        self._app.log.setup_in_child()
        self._app.on_after_fork.send(sender=self._app)
        self._app.loader.init_worker_process()
        signals.worker_process_init.send(sender=self._hostname)
        self._inner.open(interrupts)

    def close(self) -> None:
        """The process has run its last task."""
        signals.worker_process_shutdown.send(sender=self._hostname, pid=os.getpid(), exitcode=0)
        self._inner.close()


def runner_of_app(app: Umbel, hostname: str) -> Runner:
    """The runner of a process that has everything that its parent has."""
    return ProcessRunner(app, hostname)


class Origin:
    """Where another interpreter finds an app: the name of a module-level variable, or nowhere,
    where it is the default app, which every interpreter has.

    The app itself can be sent, but not its tasks: they are made by importing the modules that
    they are in, and those name the app that they find, not the one that was sent.
    """

    def __init__(self, app: Umbel) -> None:
        """Find the app among the modules that are imported here.

        Raises:
            LookupError: No module has it as a variable.
        """
        self.app = app
        self.changes: dict[str, Any] = app.conf.changes
        self.logging = app.log.given
        self.module = self.name = ""
        self.main: str | None = None
        if is_default_of_process(app):
            return
        for module in list(sys.modules.values()):
            # Ours remember which app is the current one.
            if module.__name__.partition(".")[0] == "umbel":
                continue
            for name, value in list(vars(module).items()):
                if value is app:
                    self.module, self.name = module.__name__, name
                    self.main = _main_file() if self.module == "__main__" else None
                    return
        raise LookupError(
            f"no module has {app!r} as a variable, so a new interpreter cannot find it: assign it "
            "to one (app = Celery(...)), or use worker_pool_start_method = 'fork'"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "app"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # At once: what forks children has imported then what they need.
        vars(self).update(state)
        self.app = self._find()

    def _find(self) -> Umbel:
        """The app, with its tasks, its settings and its logging as they were.

        Raises:
            LookupError: The module has no such variable here.
        """
        app = self._look_up() if self.module else get_current_app()
        app.set_current()
        app.conf.update(self.changes)
        app.loader.import_default_modules()
        app.finalize()
        if self.logging is not None:
            app.log.setup(**self.logging)
        return app

    def _look_up(self) -> Umbel:
        if self.main is not None:
            _import_main(self.main)
        found: Umbel | None = getattr(importlib.import_module(self.module), self.name, None)
        if found is None:
            raise LookupError(f"{self.module} has no {self.name} in the new interpreter")
        return found


def runner_of_origin(origin: Origin, hostname: str) -> Runner:
    """The runner of a process that starts from nothing."""
    return ProcessRunner(origin.app, hostname)


def _main_file() -> str | None:
    return getattr(sys.modules["__main__"], "__file__", None)


def _import_main(file: str) -> None:
    """Run the parent's main script, as a module of another name than ``__main__``, so that
    what it does only when it is started is not done.

    Source:
        Python's library reference, multiprocessing, "The spawn and forkserver start methods".
    """
    # Only for apps in scripts.
    from multiprocessing import spawn

    spawn.prepare({"init_main_from_path": file})
