"""The names of the channels that fanout exchanges speak on.

Source:
    Observed with kombu 5.7: ``/<db>.<exchange>``, and ``/<db>.<exchange>/<routing key>`` where
    there is a routing key; transport options ``fanout_prefix``, ``fanout_patterns``,
    ``global_keyprefix``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["Channels", "escaped"]


class Channels:
    """The channels of one database.

    >>> channels = Channels({}, db=3)
    >>> channels.name("everyone"), channels.name("celeryev", "worker.online")
    ('/3.everyone', '/3.celeryev/worker.online')
    """

    def __init__(self, options: Mapping[str, object], db: int) -> None:
        given = options.get("fanout_prefix", True)
        between = given.replace("{db}", str(db)) if isinstance(given, str) else f"/{db}."
        self.prefix = f"{options.get('global_keyprefix') or ''}{between if given else ''}"
        self.has_patterns = bool(options.get("fanout_patterns", True))
        """Whether routing keys are part of the names, so that one can listen to some of them."""

    def name(self, exchange: str, routing_key: str = "") -> str:
        """The channel that a message goes out on."""
        if routing_key and self.has_patterns:
            return f"{self.prefix}{exchange}/{routing_key}"
        return self.prefix + exchange

    def glob(self, exchange: str, routing_key: str = "") -> str:
        """What a queue that is bound by ``routing_key`` listens to, in Redis' patterns.

        >>> Channels({}, db=0).glob("logs", "web.#")
        '/0.logs/web.*'
        """
        name = escaped(self.prefix + exchange)
        if routing_key and self.has_patterns:
            # As kombu does: # becomes *, and both match dots too.
            return f"{name}/{routing_key.replace('#', '*')}"
        return name

    def globs(self, exchange: str, routing_key: str = "") -> tuple[str, ...]:
        """The same; without a routing key one listens to everything."""
        if not routing_key and self.has_patterns:
            return self.glob(exchange), self.glob(exchange, "#")
        return (self.glob(exchange, routing_key),)


def escaped(text: str) -> str:
    """A pattern of Redis that matches just this text."""
    return re.sub(r"([\\?*\[\]^])", r"\\\1", text)
