"""What belongs into a report of a bug: versions, addresses, tasks, changed settings; no secrets."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING, Any

from umbel.app.connecting.urls import shown_url

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["about", "bugreport"]

_PACKAGES = (
    *("click", "msgspec", "hiredis", "pamqp", "uvloop", "gevent", "eventlet", "pydantic", "django"),
    *("redis", "celery", "kombu"),
)


def about(app: Umbel) -> dict[str, Any]:
    """The facts, as values that JSON can show."""
    # Only a report needs to know what is installed.
    from importlib.metadata import PackageNotFoundError, version

    # The package imports this module; only its version is wanted here.
    from umbel import __version__

    packages: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            # Not installed: nothing to report.
            continue
    return {
        "umbel": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "program": sys.executable,
        "app": app.main or "__main__",
        "broker": shown_url(app.broker_url, app.project),
        "results": shown_url(app.backend_url, app.project),
        "packages": packages,
        "tasks": sorted(name for name in app.tasks if not name.startswith(("celery.", "umbel."))),
        "settings": app.conf.table(),
    }


def bugreport(app: Umbel) -> str:
    """The facts, as text for people."""
    facts = about(app)
    changed: dict[str, Any] = facts.pop("settings")
    tasks: list[str] = facts.pop("tasks")
    packages: dict[str, str] = facts.pop("packages")
    rows = [(name, str(value)) for name, value in facts.items()]
    rows.append(("packages", " ".join(f"{name}:{found}" for name, found in packages.items())))
    rows.append(("tasks", ", ".join(tasks) or "none"))
    lines = [f"{name:9} {value}" for name, value in rows]
    if changed:
        lines += ["", *(f"{name}: {value!r}" for name, value in changed.items())]
    return "\n".join(lines)
