"""A process that renews a worker's leases while the worker cannot."""

from umbel.worker.deputy.deputy import Deputy, deputy_of

__all__ = ["Deputy", "deputy_of"]
