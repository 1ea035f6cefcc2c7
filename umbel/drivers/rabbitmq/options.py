"""What can be asked of a connection to RabbitMQ by transport options.

Source:
    Names and meanings as in kombu 5.7 (``broker_transport_options``).
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping

__all__ = ["check"]

logger = logging.getLogger(__name__)

_OURS = frozenset(
    {
        *("heartbeat", "connect_timeout", "confirm_timeout", "answer_timeout", "consumer_timeout"),
        *("login_method", "client_name", "ssl", "failover_strategy"),
        "native_delayed_delivery_queue_type",
    }
)
"""What does something."""

_UNNEEDED = frozenset(
    {
        # Every message is confirmed; False is spoken of.
        "confirm_publish",
        # Publishing and connecting go on by policies of their own.
        *("max_retries", "interval_start", "interval_step", "interval_max", "retry_policy"),
        # Silence ends a connection by itself.
        *("read_timeout", "write_timeout", "socket_settings"),
        # Of brokers that are no RabbitMQ.
        *("visibility_timeout", "global_keyprefix", "sep", "priority_steps"),
        *("queue_order_strategy", "fanout_prefix", "fanout_patterns", "polling_interval"),
    }
)
"""What Celery's programs may say, and what we do, or need not do, without being told."""


def check(options: Mapping[str, object]) -> None:
    """Say in the log what is not done as asked."""
    if options.get("confirm_publish", True) is False:
        logger.warning(
            "confirm_publish=False is not obeyed: RabbitMQ confirms every message before delay() "
            "returns, since what it has not confirmed can be lost. Many messages at once are "
            "confirmed together: apply_many, groups."
        )
    for name in sorted(options.keys() - _OURS - _UNNEEDED):
        similar = difflib.get_close_matches(name, _OURS, n=1)
        logger.warning(
            "The transport option %r has no effect on RabbitMQ%s.",
            name,
            f"; did you mean {similar[0]!r}?" if similar else "",
        )
