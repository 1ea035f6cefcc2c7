"""Putting a workflow in the place of the task that runs."""

from __future__ import annotations

from typing import Any

from umbel.canvas import follow_up
from umbel.canvas.plan import ids_after
from umbel.execution.context import Run

__all__ = ["replace"]


def replace(run: Run, signature: Any) -> None:
    """Have ``signature``, which ends in the id of ``run``, take its place.

    It is published with the outcome of the run, so that a crash between the two can neither lose
    nor double it.
    """
    request = run.request
    context = {"root_id": request.root_id or request.id}
    if request.parent_id is not None:
        context["parent_id"] = request.parent_id
    # What takes its place has its id, and may replace itself in turn.
    turn = f"{run.context.replaced_task_nesting}:{request.retries}"
    seed = f"{request.id}:replaced:{turn}"
    run.replacement = follow_up.start(signature, (), context, ids_after(seed))
