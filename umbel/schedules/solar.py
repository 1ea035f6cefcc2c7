"""Schedules by the sun. Needs the extra ``umbel[solar]``.

Source:
    Celery user guide, Periodic Tasks, "Solar schedules": events and what they mean.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, NamedTuple

from umbel.exceptions import ImproperlyConfigured
from umbel.schedules.base import App, BaseSchedule

__all__ = ["solar"]

_PRECISION = timedelta(seconds=1)
"""Two answers about one event may be a few milliseconds apart."""


class _Event(NamedTuple):
    """How ephem is asked for it."""

    method: str
    horizon: str
    """Degrees; negative is below."""
    use_center: bool
    """Of the sun's disc, rather than its upper edge."""


_EVENTS = {
    "dawn_astronomical": _Event("next_rising", "-18", True),
    "dawn_nautical": _Event("next_rising", "-12", True),
    "dawn_civil": _Event("next_rising", "-6", True),
    "sunrise": _Event("next_rising", "-0:34", False),
    "solar_noon": _Event("next_transit", "0", False),
    "sunset": _Event("next_setting", "-0:34", False),
    "dusk_civil": _Event("next_setting", "-6", True),
    "dusk_nautical": _Event("next_setting", "-12", True),
    "dusk_astronomical": _Event("next_setting", "-18", True),
}


class solar(BaseSchedule):  # noqa: N801 - Celery's name
    """When the sun does something, somewhere. On days when it does not, nothing happens.

    Args:
        event: ``dawn_astronomical``, ``dawn_nautical``, ``dawn_civil``, ``sunrise``,
            ``solar_noon``, ``sunset``, ``dusk_civil``, ``dusk_nautical`` or ``dusk_astronomical``.
        lat: Degrees north, -90 to 90.
        lon: Degrees east, -180 to 180.
        nowfun: See :class:`BaseSchedule`.
        app: See :class:`BaseSchedule`.

    Raises:
        ImproperlyConfigured: ephem is not installed.
        ValueError: There is no such event or place.
    """

    max_search_days = 366
    """Days to look ahead for what does not happen every day."""

    def __init__(
        self,
        event: str,
        lat: float,
        lon: float,
        nowfun: Callable[[], datetime] | None = None,
        app: App | None = None,
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        if event not in _EVENTS:
            raise ValueError(
                f'Argument event "{event}" is invalid, must be one of {", ".join(sorted(_EVENTS))}.'
            )
        if not -90 <= lat <= 90:
            raise ValueError(f"Argument latitude {lat} is invalid, must be between -90 and 90.")
        if not -180 <= lon <= 180:
            raise ValueError(f"Argument longitude {lon} is invalid, must be between -180 and 180.")
        self.event = event
        self.lat = lat
        self.lon = lon
        try:
            # Optional: umbel[solar].
            self._ephem: Any = import_module("ephem")
        except ImportError as error:
            raise ImproperlyConfigured(
                "solar schedules need the package ephem. "
                'Install it with: pip install "umbel[solar]"'
            ) from error
        self._observer = self._ephem.Observer()
        self._observer.lat = str(lat)
        self._observer.lon = str(lon)
        self._observer.elevation = 0
        self._observer.pressure = 0
        self._observer.horizon = _EVENTS[event].horizon

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after ``moment``; None when it does not happen within a year."""
        ephem, asked = self._ephem, _EVENTS[self.event]
        find = getattr(self._observer, asked.method)
        options = {"use_center": True} if asked.use_center else {}
        sun = ephem.Sun()
        after = moment.astimezone(UTC).replace(tzinfo=None)
        start = ephem.Date(after)
        for _ in range(self.max_search_days):
            try:
                found: datetime = find(sun, start=start, **options).datetime()
            except ephem.CircumpolarError:
                # Not on this day, so far north or south: try from the next midnight on.
                start = self._observer.next_antitransit(sun, start=start)
                continue
            if found - after > _PRECISION:
                return found.replace(tzinfo=UTC).astimezone(self.tz)
            # The event that ``moment`` itself is.
            start = ephem.Date(after + 60 * _PRECISION)
        return None

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, solar):
            return (other.event, other.lat, other.lon) == (self.event, self.lat, self.lon)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.event, self.lat, self.lon))

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.event, self.lat, self.lon)
