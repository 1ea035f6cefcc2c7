"""The release of Celery whose names umbel has: what ``celery.VERSION`` says under the alias."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BILLIARD", "SERIES", "VERSION", "VERSION_BANNER", "version_info_t"]


class version_info_t(NamedTuple):  # noqa: N801 - Celery's name
    """The parts of a release's number."""

    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: str


VERSION = version_info_t(5, 7, 0, "", "")
SERIES = "collider"
__version__ = ".".join(map(str, VERSION[:3]))
VERSION_BANNER = f"{__version__} ({SERIES})"
BILLIARD = (4, 3, 2)
"""The release of billiard that comes with it."""
