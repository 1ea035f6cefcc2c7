"""``DisabledBackend``: ``app.backend`` of an app that keeps no results."""

from __future__ import annotations

from typing import Any, NoReturn

from umbel.app.backends.base import Backend

__all__ = ["DisabledBackend"]

_WHY = "No result backend is configured.\nPlease see the documentation for more information."


class DisabledBackend(Backend):
    """Keeps nothing; who asks for a result is told why there is none."""

    def store_result(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    def as_uri(self, include_password: bool = False) -> str:
        """Says that there is none."""
        return "disabled://"

    def ensure_chords_allowed(self) -> None:
        """There are none.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "Starting chords requires a result backend to be configured.\n\nNote that a group "
            "chained with a task is also upgraded to be a chord,\nas this pattern requires "
            "synchronization.\n\nResult backends that supports chords: Redis, Database, "
            "Memcached, and more."
        )

    def _is_disabled(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(_WHY)

    get_state = get_status = get_result = get_traceback = _is_disabled
    get_task_meta_for = get_task_meta = wait_for = get_many = _is_disabled
