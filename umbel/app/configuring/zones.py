"""The ``timezone`` setting."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from umbel.exceptions import InvalidSetting

__all__ = ["zone_of"]


def zone_of(name: str | tzinfo | None, enable_utc: bool) -> tzinfo:
    """The time zone that the settings ``timezone`` and ``enable_utc`` ask for.

    Raises:
        InvalidSetting: There is no zone of that name.

    Source:
        Celery user guide, Configuration, ``timezone``: UTC, or the local zone without
        ``enable_utc``.
    """
    if isinstance(name, tzinfo):
        return name
    if not name:
        return UTC if enable_utc else datetime.now(UTC).astimezone().tzinfo or UTC
    if name.upper() == "UTC":
        return UTC
    # Most apps stay with UTC; zoneinfo costs 5 ms to import.
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        message = (
            f"timezone={name!r} is not a time zone. Use a name of the IANA database, for example "
            "'Europe/Paris'; where the system has none, install the package tzdata."
        )
        raise InvalidSetting(message) from error
