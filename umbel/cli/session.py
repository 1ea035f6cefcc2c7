"""What the options before and after a command say together, and the app they lead to."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from umbel.exceptions import BrokerUnavailable, UmbelError

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["Session", "pass_session"]

T = TypeVar("T")

_PATIENCE = 5.0
"""Seconds after which a broker or result backend that does not answer counts as away."""

_VARIABLES = {
    "broker": "UMBEL_BROKER_URL",
    "result_backend": "UMBEL_RESULT_BACKEND",
    "config": "UMBEL_CONFIG_MODULE",
}
"""Options that the processes we start must see too, and the variables that carry them."""


class Session:
    """One run of the command line."""

    def __init__(self, app: Umbel | None = None, argv: Sequence[str] = ()) -> None:
        self.argv = list(argv)
        """What was typed in, without the program's name."""
        self.app_name: str | None = None
        self.no_color = False
        self.quiet = False
        self.started_in = Path.cwd()
        self.restarts = False
        """Whether the process is to begin anew once all is closed."""
        self.user_options: dict[str, Any] = {}
        """The values of the options that the app adds to the command, by name."""
        self._app = app
        self._exported = False

    def export(self, option: str, value: str) -> None:
        """Put an option into the environment, where settings are read from."""
        os.environ[_VARIABLES[option]] = value
        self._exported = True

    @property
    def has_app(self) -> bool:
        """Whether one was named, or passed; else there is the default one only."""
        return self._app is not None or self.app_name is not None

    @property
    def app(self) -> Umbel:
        """The app that ``-A`` names, else the one that was passed, else the default one.

        Raises:
            AppNotFound: ``-A`` names none.
        """
        if self._app is None or self.app_name is not None:
            # Finding an app imports nearly all of umbel: --help and --version need none of it.
            from umbel.app.configuring.finding import find_app
            from umbel.app.current import get_current_app, set_current_app

            self._app = find_app(self.app_name) if self.app_name else get_current_app()
            self.app_name = None
            set_current_app(self._app)
        if self._exported:
            self._app.conf.reload()
            self._exported = False
        return self._app

    def import_tasks(self) -> None:
        """Import the modules that a worker imports.

        Raises:
            click.ClickException: One raises something that is no ``ImportError``; shows where.
        """
        app = self.app
        # As for the app.
        from umbel.app.configuring.finding import user_traceback

        try:
            app.loader.import_default_modules()
        except (UmbelError, ImportError, OSError):
            raise
        except Exception as error:
            # The user's modules: whatever they raise is reported as what it is.
            raise click.ClickException(
                f"a module of tasks cannot be imported; it fails with:\n\n{user_traceback(error)}"
            ) from error

    def use(self, app: Umbel) -> None:
        """Take another app, which is closed at the end."""
        self._app, self.app_name = app, None

    def say(self, text: str) -> None:
        """Print something that ``--quiet`` silences."""
        if not self.quiet:
            click.echo(text)

    def run(self, work: Callable[[], Awaitable[T]], url: str) -> T:
        """Await ``work()``, but not for long.

        Args:
            url: What it talks to, for the error.

        Raises:
            BrokerUnavailable: It took too long.
        """
        # Only commands that talk to a broker need a loop.
        import asyncio

        from umbel.app.connecting.urls import safe_url

        async def bounded() -> T:
            try:
                async with asyncio.timeout(_PATIENCE):
                    return await work()
            except TimeoutError as error:
                raise BrokerUnavailable(
                    f"{safe_url(url)} has not answered for {_PATIENCE:g} seconds. "
                    "Is it running, and does a firewall let us through?"
                ) from error

        return self.app.portal.call(bounded)

    def close(self) -> None:
        """Close the connections of the app, if one was found."""
        if self._app is not None:
            self._app.close()


pass_session = click.make_pass_decorator(Session)
