"""Commands about tasks: revoking them, and their limits.

Source:
    Celery user guide, Workers, "Remote control": names, arguments and replies, as observed with
    Celery 5.7.
"""

from __future__ import annotations

import logging
from typing import Any

from umbel.app.operating.revoking import stamps_of
from umbel.exceptions import NotRegistered
from umbel.serialization.shapes import is_list
from umbel.worker.commands.registry import control_command, inspect_command, nok, ok
from umbel.worker.commands.state import ControlState

__all__: list[str] = []

logger = logging.getLogger(__name__)


@control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
async def revoke(
    state: ControlState, task_id: Any, terminate: Any = False, signal: Any = None, **_: Any
) -> Any:
    """Revoke task by task id (or list of ids)."""
    ids = _ids(task_id)
    ended = await state.worker.revoke(ids, terminate=bool(terminate), signal=signal)
    if terminate:
        return ok(f"terminate: {', '.join(ended)}" if ended else "terminate: tasks unknown")
    logger.info("Tasks flagged as revoked: %s", ", ".join(ids))
    return ok(f"tasks {set(ids) or '{}'} flagged as revoked")


@control_command(
    variadic="task_id",
    args=[("signal", str)],
    signature="<signal> [id1 [id2 [... [idN]]]]",
)
async def terminate(state: ControlState, signal: Any, task_id: Any, **_: Any) -> Any:
    """Terminate task by task id (or list of ids)."""
    return await revoke(state, task_id, terminate=True, signal=signal)


@control_command(variadic="headers", signature="[key1=value1 [key2=value2 [... [keyN=valueN]]]]")
async def revoke_by_stamped_headers(
    state: ControlState, headers: Any, terminate: Any = False, signal: Any = None, **_: Any
) -> Any:
    """Revoke task by header (or list of headers)."""
    wanted = stamps_of(headers)
    ended = await state.worker.revoke_by_stamped_headers(
        wanted, terminate=bool(terminate), signal=signal
    )
    if not terminate:
        return ok(f"headers {wanted} flagged as revoked, but not terminated")
    if not ended:
        return ok(f"headers {wanted} were not terminated")
    return ok(f"headers {wanted} revoked")


@control_command(
    args=[("task_name", str), ("rate_limit", str)],
    signature="<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>",
)
def rate_limit(state: ControlState, task_name: str, rate_limit: Any, **_: Any) -> Any:
    """Tell worker(s) to modify the rate limit for a task by type."""
    try:
        state.worker.set_rate_limit(task_name, rate_limit)
    except NotRegistered:
        logger.error("Rate limit attempt for unknown task %s", task_name)  # noqa: TRY400
        return nok("unknown task")
    except ValueError as error:
        return nok(f"Invalid rate limit string: {error!r}")
    # What ``registered`` shows.
    state.app.tasks[task_name].rate_limit = rate_limit
    if not rate_limit or rate_limit == "0":
        logger.info("Rate limits disabled for tasks of type %s", task_name)
        return ok("rate limit disabled successfully")
    logger.info("New rate limit for tasks of type %s: %s.", task_name, rate_limit)
    return ok("new rate limit set successfully")


@control_command(
    args=[("task_name", str), ("soft", float), ("hard", float)],
    signature="<task_name> <soft_secs> [hard_secs]",
)
def time_limit(
    state: ControlState, task_name: str, hard: Any = None, soft: Any = None, **_: Any
) -> Any:
    """Tell worker(s) to modify the time limit for task by type."""
    try:
        state.worker.set_time_limits(task_name, soft=_seconds(soft), hard=_seconds(hard))
    except NotRegistered:
        logger.error("Change time limit attempt for unknown task %s", task_name)  # noqa: TRY400
        return nok("unknown task")
    logger.info("New time limits for tasks of type %s: soft=%s hard=%s", task_name, soft, hard)
    return ok("time limits set successfully")


@inspect_command(alias="dump_revoked")
def revoked(state: ControlState, **_: Any) -> Any:
    """List of revoked task-ids."""
    return list(state.worker.state.revocations.ids)


def _ids(task_id: Any) -> list[str]:
    given: Any = [task_id] if isinstance(task_id, str) else task_id or []
    if not is_list(given) or not all(isinstance(each, str) for each in given):
        raise TypeError(f"{task_id!r:.120} is neither a task id nor a list of them")
    return list(dict.fromkeys(given))


def _seconds(value: Any) -> float | None:
    """Seconds; None and 0 are no limit.

    Raises:
        ValueError: It is no number from 0.
    """
    if value is None:
        return None
    seconds = float(value)
    if not seconds >= 0:
        raise ValueError(f"{value!r} are no seconds")
    return seconds or None
