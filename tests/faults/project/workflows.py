"""The tasks again, and those that random workflows are made of."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from tasks import app, note

from tests.integration.trees import Tree, build, digest

_UNCOUNTED = -1
"""The number of tasks that are sent by others, as often as these run."""


@app.task(name="workflows.leaf", acks_late=True, reject_on_worker_lost=True, throws=ValueError)
def leaf(*args: Any, tag: str, fails: bool) -> str:
    """What it returns follows from what it is called with."""
    note("start", _UNCOUNTED)
    time.sleep(0.02)
    if fails:
        raise ValueError(tag)
    return digest(tag, args)


@app.task(name="workflows.swap", bind=True, acks_late=True, reject_on_worker_lost=True)
def swap(self: Any, *args: Any, tree: Tree) -> Any:
    """Puts a workflow in its own place."""
    return self.replace(build(tree, SimpleNamespace(leaf=leaf, swap=swap)).clone(args))
