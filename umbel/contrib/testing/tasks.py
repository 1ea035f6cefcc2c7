"""What an embedded worker is asked, to see that it works."""

from __future__ import annotations

from umbel.app.current import shared_task

__all__ = ["ping"]


@shared_task(name="celery.ping")
def ping() -> str:
    """Say that you are there."""
    return "pong"
