"""Commands about what runs the tasks, and about the worker's life.

Source:
    Celery user guide, Workers, "Remote control": names, arguments and replies, as observed with
    Celery 5.7.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from typing import Any, cast

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
async def pool_restart(
    state: ControlState, modules: Any = None, reload: Any = False, reloader: Any = None, **_: Any
) -> Any:
    """Restart execution pool."""
    if not state.app.conf.worker_pool_restarts:
        raise ValueError("Pool restarts not enabled")
    if reloader is not None:
        raise ValueError("a reloader cannot be sent: it is code")
    names = _modules(modules)
    for name in names:
        if reload and name in sys.modules:
            importlib.reload(sys.modules[name])
        else:
            importlib.import_module(name)
    await state.consumer.pool.restart(names, reload=bool(reload))
    return ok("reload started")


@control_command(args=[("max", int), ("min", int)], signature="[max [min]]")
def autoscale(state: ControlState, max: Any = None, min: Any = None, **_: Any) -> Any:
    """Modify autoscale settings."""
    autoscaler = getattr(state.worker, "autoscaler", None)
    if autoscaler is None:
        raise ValueError("Autoscale not enabled")
    highest, lowest = autoscaler.update(
        None if max is None else int(max), None if min is None else int(min)
    )
    return ok(f"autoscale now max={highest} min={lowest}")


@control_command()
def shutdown(state: ControlState, msg: str = "Got shutdown from remote", **_: Any) -> Any:
    """Shutdown worker(s)."""
    logger.warning("%s", msg)
    raise WorkerShutdown(0)


def _modules(modules: Any) -> list[str]:
    if not isinstance(modules or [], list | tuple):
        raise TypeError(f"{modules!r:.120} is not a list of modules")
    names: list[str] = []
    for name in cast("Sequence[object]", modules or []):
        if not isinstance(name, str):
            raise TypeError(f"{modules!r:.120} is not a list of modules")
        names.append(name)
    return names


async def _resize(state: ControlState, command: str, by: int) -> Any:
    if getattr(state.worker, "autoscaler", None) is not None:
        return nok(f"{command} is not supported with autoscale. Adjust autoscale range instead.")
    pool = state.consumer.pool
    size = pool.size + by
    if size < 1:
        raise ValueError(f"a pool of {pool.size} cannot become one of {size}")
    await pool.resize(size)
    return None
