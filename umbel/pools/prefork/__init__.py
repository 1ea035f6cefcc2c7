"""The prefork pool."""

from umbel.pools.prefork.parent import PreforkPool

__all__ = ["PreforkPool"]
