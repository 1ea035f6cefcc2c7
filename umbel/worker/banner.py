"""What a worker says of itself when it starts."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from umbel.app.connecting.urls import shown_url
from umbel.model import Queue
from umbel.worker.options import WorkerOptions

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["Introduction", "banner", "introduction"]


class Introduction(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say."""

    hostname: str
    version: str
    app: str
    broker: str
    """The URL, fit for logs."""
    backend: str
    """The URL, fit for logs."""
    pool: str
    concurrency: int
    queues: Sequence[Queue]
    tasks: Iterable[str]


def introduction(app: Umbel, options: WorkerOptions, queues: Sequence[Queue]) -> Introduction:
    """What there is to say of a worker of ``app``."""
    # The package imports everything else; only its version is wanted here.
    from umbel import __version__

    return Introduction(
        hostname=options.hostname,
        version=__version__,
        app=f"{app.main or '__main__'}:{id(app):#x}",
        broker=shown_url(app.broker_read_url, app.project),
        backend=shown_url(app.backend_url, app.project),
        pool=str(options.guest) if options.pool == "guest" else options.pool,
        concurrency=options.concurrency,
        queues=queues,
        tasks=app.tasks,
    )


def banner(about: Introduction) -> str:
    """Several lines for people: where the worker takes tasks from, and which ones it knows."""
    rows = [
        ("app", about.app),
        ("broker", about.broker),
        ("results", about.backend),
        ("pool", f"{about.pool}, {about.concurrency} at once"),
        ("queues", ", ".join(_describe(queue) for queue in about.queues) or "none"),
    ]
    lines = [f"umbel {about.version}  {about.hostname}  ({platform.platform()})", ""]
    lines += [f"  {name:<8} {value}" for name, value in rows]
    names = sorted(name for name in about.tasks if not name.startswith(("celery.", "umbel.")))
    lines += ["", "[tasks]", *(f"  . {name}" for name in names)]
    if not names:
        lines.append("  none. Which module defines them? See 'include' and 'imports'.")
    return "\n".join([*lines, ""])


def _describe(queue: Queue) -> str:
    if queue.exchange is None or queue.exchange.name in {"", queue.name}:
        return queue.name
    return f"{queue.name} (exchange {queue.exchange.name}, {queue.exchange.type}, {queue.key})"
