"""Commands about events, and between workers.

Source:
    Celery user guide, Workers, "Remote control": names, arguments and replies, as observed with
    Celery 5.7.
"""

from __future__ import annotations

import logging
from typing import Any

from umbel.worker.commands.registry import control_command, inspect_command, ok
from umbel.worker.commands.state import ControlState
from umbel.worker.fleet.heart import software
from umbel.worker.fleet.mingle import learn

__all__: list[str] = []

logger = logging.getLogger(__name__)


@control_command()
def enable_events(state: ControlState, **_: Any) -> Any:
    """Tell worker(s) to send task-related events."""
    if state.consumer.event_dispatcher.tell_tasks(True):
        logger.info("Events of group {task} enabled by remote.")
        return ok("task events enabled")
    return ok("task events already enabled")


@control_command()
def disable_events(state: ControlState, **_: Any) -> Any:
    """Tell worker(s) to stop sending task-related events."""
    if state.consumer.event_dispatcher.tell_tasks(False):
        logger.info("Events of group {task} disabled by remote.")
        return ok("task events disabled")
    return ok("task events already disabled")


@control_command()
def heartbeat(state: ControlState, **_: Any) -> Any:
    """Tell worker(s) to send event heartbeat immediately."""
    logger.debug("Heartbeat requested by remote.")
    dispatcher = state.consumer.event_dispatcher
    # It is what everybody sends who begins to listen.
    dispatcher.heard()
    dispatcher.send("worker-heartbeat", freq=5, **software())


@inspect_command(visible=False)
def hello(state: ControlState, from_node: str, revoked: Any = None, **_: Any) -> Any:
    """Request mingle sync-data."""
    if from_node == state.hostname:
        return None
    logger.info("sync with %s", from_node)
    learn(state.worker, {"revoked": revoked})
    return {"revoked": state.worker.state.revocations.ids, "clock": state.app.clock.forward()}


@control_command()
def election(state: ControlState, id: Any, topic: Any, action: Any = None, **_: Any) -> None:
    """Hold election."""
    if not isinstance(id, str) or not isinstance(topic, str):
        raise TypeError(f"an election needs an id and a topic, not {id!r:.60} and {topic!r:.60}")
    if state.consumer.gossip is not None:
        state.consumer.gossip.election(id, topic, action)
