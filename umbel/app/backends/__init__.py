"""Result backends as Celery has them: synchronous classes, made for an app, to be subclassed.

What umbel keeps results with itself is behind ``umbel.protocols.ResultBackend``. These are for
packages and programs that bring a backend of their own (``umbel.drivers.legacy`` serves it), and
for those that ask ``app.backend`` (:mod:`umbel.app.backends.native`).

Source:
    Celery reference, ``celery.backends.base``: classes, methods, what subclasses implement.
"""

from __future__ import annotations

from umbel.app.backends.base import Backend, SyncBackendMixin
from umbel.app.backends.disabled import DisabledBackend
from umbel.app.backends.keyvalue import KeyValueStoreBackend
from umbel.app.backends.native import NativeBackend

__all__ = [
    "Backend",
    "DisabledBackend",
    "KeyValueStoreBackend",
    "NativeBackend",
    "SyncBackendMixin",
]
