"""Commands about what runs the tasks, and about the worker's life.

Source:
    Celery user guide, Workers, "Remote control": names, arguments and replies, as observed with
    Celery 5.7.
"""

from __future__ import annotations

import logging
from typing import Any

from umbel.exceptions import WorkerShutdown
from umbel.worker.commands.registry import control_command, nok, ok
from umbel.worker.commands.state import ControlState

__all__: list[str] = []

logger = logging.getLogger(__name__)


@control_command(args=[("n", int)], signature="[N=1]")
async def pool_grow(state: ControlState, n: int = 1, **_: Any) -> Any:
    """Grow pool by n processes/threads."""
    return await _resize(state, "pool_grow", int(n)) or ok("pool will grow")


@control_command(args=[("n", int)], signature="[N=1]")
async def pool_shrink(state: ControlState, n: int = 1, **_: Any) -> Any:
    """Shrink pool by n processes/threads."""
    return await _resize(state, "pool_shrink", -int(n)) or ok("pool will shrink")


@control_command()
def shutdown(state: ControlState, msg: str = "Got shutdown from remote", **_: Any) -> Any:
    """Shutdown worker(s)."""
    logger.warning("%s", msg)
    raise WorkerShutdown(0)


async def _resize(state: ControlState, command: str, by: int) -> Any:
    if getattr(state.worker, "autoscaler", None) is not None:
        return nok(f"{command} is not supported with autoscale. Adjust autoscale range instead.")
    pool = state.consumer.pool
    size = pool.size + by
    if size < 1:
        raise ValueError(f"a pool of {pool.size} cannot become one of {size}")
    await pool.resize(size)
    return None
