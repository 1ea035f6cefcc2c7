"""The gevent and eventlet pools."""

from umbel.pools.green.parent import GreenPool

__all__ = ["GreenPool"]
