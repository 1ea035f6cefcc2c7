"""Signatures as messages carry them: plain dictionaries."""

from __future__ import annotations

from typing import Any

__all__ = ["chain", "chord", "group", "sig"]


def sig(task: str, *args: Any, options: Any = None, **fields: Any) -> dict[str, Any]:
    """A task."""
    return {"task": task, "args": list(args), "kwargs": {}, "options": options or {}, **fields}


def chain(*tasks: Any, **fields: Any) -> dict[str, Any]:
    """One after the other."""
    return {**sig("celery.chain", subtask_type="chain", **fields), "kwargs": {"tasks": list(tasks)}}


def group(*tasks: Any, **fields: Any) -> dict[str, Any]:
    """Side by side."""
    return {**sig("celery.group", subtask_type="group", **fields), "kwargs": {"tasks": list(tasks)}}


def chord(header: Any, body: Any, **fields: Any) -> dict[str, Any]:
    """Side by side, and then one."""
    kwargs = {"kwargs": {}, "header": header, "body": body}
    return {**sig("celery.chord", subtask_type="chord", **fields), "kwargs": kwargs}
