"""The settings of an app: read, checked, resolved.

Source:
    Celery user guide, Configuration; Celery reference, ``celery.app.utils.Settings``: names of
    methods. The order of precedence and the environment variables are Celery's.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, NoReturn

import msgspec

from umbel.app.configuring.configuration import Configuration
from umbel.app.configuring.suggestions import did_you_mean
from umbel.app.configuring.values import accepted, parsed
from umbel.app.defaults import NAME_BY_OLD_NAME, SETTINGS, Setting
from umbel.app.defaults.foreign import allowed, is_foreign
from umbel.app.defaults.support import missing
from umbel.exceptions import UmbelWarning, UnknownSetting, UnsupportedSetting

__all__ = ["FoundOption", "Settings", "setting_of"]

Source = Callable[[], Mapping[str, object]]

_IN_CODE = "set in code"
_DEFAULT = "default"

_FALLBACKS = (
    ("broker_read_url", "broker_url"),
    ("broker_write_url", "broker_url"),
    ("task_default_exchange", "task_default_queue"),
    ("task_default_routing_key", "task_default_queue"),
)
"""Settings that are another one where they are not set."""

_FROM_ENVIRONMENT = ("broker_url", "broker_read_url", "broker_write_url", "result_backend")
"""Settings that environment variables override."""

_PREFIXES = ("UMBEL_", "CELERY_")


class FoundOption(msgspec.Struct, frozen=True):
    """A setting found by a part of its name."""

    namespace: str
    key: str
    setting: Setting


def setting_of(name: str) -> Setting:
    """The setting of that name, or that had that name before Celery 4.

    Raises:
        UnknownSetting: There is none.
    """
    found = SETTINGS.get(name) or SETTINGS.get(NAME_BY_OLD_NAME.get(name, ""))
    if found is None:
        question = did_you_mean(name.lower(), SETTINGS)
        raise UnknownSetting(f"{name!r} is not a setting.{question}")
    return found


class _State:
    """What a ``Settings`` knows; the resolved values are its attributes."""

    __slots__ = ("additions", "changes", "given", "loading", "lock", "origin", "source")

    def __init__(self, source: Source | None) -> None:
        self.source = source
        self.lock = threading.RLock()
        self.loading = False
        """Whether the source is being read, and asks for settings itself."""
        self.changes: dict[str, Any] = {}
        """What was set in code: wins over the configuration."""
        self.additions: dict[str, Any] = {}
        """Other defaults."""
        self.given: dict[str, Any] = {}
        """What the configuration says."""
        self.origin: dict[str, str] = {}
        """Where a setting comes from, unless it is a default."""


class Settings(MutableMapping[str, Any]):
    """The settings of an app, as attributes and as a mapping.

    Every name of :data:`umbel.app.defaults.SETTINGS` is there. The environment wins over what is
    set in code, that over the configuration, and that over the defaults. The configuration is
    read when a setting is first needed. Old upper-case names mean the same settings. Thread-safe;
    a read is a plain attribute read.
    """

    __slots__ = ("__dict__", "__weakref__", "_state", "version")

    _state: _State
    version: object
    """Another object after every change: who derives something from settings compares it."""

    def __init__(
        self, changes: Mapping[str, Any] | None = None, source: Source | None = None
    ) -> None:
        """Make settings.

        Args:
            changes: Settings that win over the configuration.
            source: Reads the configuration: present names to values.

        Raises:
            UnknownSetting: ``changes`` names something that is no setting.
            InvalidSetting: A setting cannot have that value.
            UnsupportedSetting: A setting asks for what is not in this release.
        """
        object.__setattr__(self, "_state", _State(source))
        object.__setattr__(self, "version", object())
        if changes:
            self.update(changes)

    # -- reading

    # Any: settings hold whatever users may configure.
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        # What is wrong with the configuration is not that it lacks this name.
        self.load()
        try:
            return self[name]
        except UnknownSetting as error:
            raise AttributeError(str(error), name=name, obj=self) from error

    def __getitem__(self, name: str) -> Any:
        values = self.__dict__
        if name in values:
            return values[name]
        if name not in SETTINGS and self.load():
            others = self._others()
            if name in others:
                return others[name]
            if name in values:
                return values[name]
        key = setting_of(name).name
        if not self.load():
            # The configuration module asks for settings while it is being read.
            return self._before(key)
        return self.__dict__[key]

    def __contains__(self, name: object) -> bool:
        if name in SETTINGS or name in NAME_BY_OLD_NAME:
            return True
        return name in self._foreign() or name in self._others()

    def __iter__(self) -> Iterator[str]:
        return iter([*SETTINGS, *self._foreign()])

    def __len__(self) -> int:
        return len(SETTINGS) + len(self._foreign())

    def _others(self) -> dict[str, object]:
        """A configuration module's own names: no settings, but they can be read."""
        others: dict[str, object] = getattr(self._state.given, "others", {})
        return others

    def _foreign(self) -> list[str]:
        """The names of other packages' settings."""
        if not allowed() or not self.load():
            return []
        return [name for name in self.__dict__ if name not in SETTINGS]

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *SETTINGS]

    def __repr__(self) -> str:
        if not self.__dict__:
            return f"<{type(self).__name__}: not read yet>"
        return f"<{type(self).__name__}: {self.humanize().replace(chr(10), ', ')}>"

    def get(self, key: str, default: Any = None) -> Any:
        """The setting, or ``default`` if there is no such setting."""
        try:
            return self[key]
        except UnknownSetting:
            return default

    def first(self, *keys: str) -> Any:
        """The first of these settings that there is and that is not None, else None."""
        return next((value for key in keys if (value := self.get(key)) is not None), None)

    def is_set(self, name: str) -> bool:
        """Whether anybody has set it, to whatever value."""
        return self.origin(name) != _DEFAULT

    value_set_for = is_set

    def origin(self, name: str) -> str:
        """Where its value comes from: ``"default"``, or for example ``"set in code"``."""
        key = setting_of(name).name
        self.load()
        return self._state.origin.get(key, _DEFAULT)

    @property
    def changes(self) -> dict[str, Any]:
        """What was set in code; a copy."""
        return dict(self._state.changes)

    # -- changing

    def __setattr__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __delitem__(self, name: str) -> None:
        """Forget what was set in code: what the configuration says holds again."""
        key = setting_of(name).name
        with self._state.lock:
            self._state.changes.pop(key, None)
            self._resolve_again()

    def update(self, *others: Any, **more: Any) -> None:
        """Set several; either all of them or, if one is refused, none.

        Raises:
            UnknownSetting: Something is no setting.
            InvalidSetting: A setting cannot have that value.
            UnsupportedSetting: A setting asks for what is not in this release.
        """
        wanted: dict[str, Any] = {}
        for other in others:
            wanted.update(other)
        wanted.update(more)
        found = _checked(wanted, _IN_CODE)
        with self._state.lock:
            self._state.changes.update(found)
            self._resolve_again()
        _warn_of_missing(found)

    def add_defaults(self, defaults: Mapping[str, Any]) -> None:
        """Give settings other defaults; both the configuration and code still win.

        Raises:
            UnknownSetting, InvalidSetting, UnsupportedSetting: As :meth:`update`.
        """
        found = _checked(defaults, "set by add_defaults")
        with self._state.lock:
            self._state.additions.update(found)
            self._resolve_again()
        _warn_of_missing(found)

    # -- resolving

    def load(self) -> bool:
        """Read the configuration now, unless it has been read.

        Returns:
            Whether the settings are resolved; they are not while the configuration is being read
            and this very thread asks.

        Raises:
            UnknownSetting, InvalidSetting, UnsupportedSetting: As :meth:`update`.
        """
        if self.__dict__:
            return True
        state = self._state
        with state.lock:
            if self.__dict__:
                return True
            if state.loading:
                return False
            state.loading = True
            try:
                state.given = self._read(state.source)
                self._resolve()
            finally:
                state.loading = False
        _warn_of_missing(state.given)
        return True

    finalize = load

    def reload(self) -> None:
        """Have the configuration read again when a setting is next needed."""
        with self._state.lock:
            self.__dict__.clear()
            self._touch()

    @staticmethod
    def _read(source: Source | None) -> dict[str, Any]:
        found: Mapping[str, object] = source() if source is not None else {}
        if isinstance(found, Configuration):
            return Configuration(
                _checked(found, found.origin),
                origin=found.origin,
                written=found.written,
                others=found.others,
            )
        return _checked(found, "set in the configuration")

    def _resolve_again(self) -> None:
        # While the configuration is being read, what is set then is resolved with the rest.
        if self.__dict__ and not self._state.loading:
            self._resolve()
        self._touch()

    def _resolve(self) -> None:
        state = self._state
        values = {name: _fresh(setting.default) for name, setting in SETTINGS.items()}
        origin: dict[str, str] = {}
        configured = getattr(state.given, "origin", "set in the configuration")
        for layer, where in (
            (state.additions, "set by add_defaults"),
            (state.given, configured),
            (state.changes, _IN_CODE),
        ):
            values.update(layer)
            origin.update(dict.fromkeys(layer, where))
        for name in _FROM_ENVIRONMENT:
            for prefix in _PREFIXES:
                variable = f"{prefix}{name.upper()}"
                text = os.environ.get(variable)
                if text:
                    origin[name] = f"set by the environment variable {variable}"
                    values[name] = parsed(SETTINGS[name], text, origin[name])
                    break
        for name, fallback in _FALLBACKS:
            if values[name] is None:
                values[name] = values[fallback]
        state.origin = origin
        # One C call: other threads see either all of the old values or all of the new ones.
        self.__dict__.update(values)
        self._touch()

    def _before(self, name: str) -> Any:
        state = self._state
        for layer in (state.changes, state.additions):
            if name in layer:
                return layer[name]
        return _fresh(SETTINGS[name].default)

    def _touch(self) -> None:
        object.__setattr__(self, "version", object())

    # -- finding

    def get_by_parts(self, *parts: str | None) -> Any:
        """The setting whose name is the parts joined by underscores."""
        return self["_".join(part for part in parts if part)]

    def find_option(self, name: str, namespace: str = "") -> FoundOption:
        """The setting of that name in a namespace, else the first that ends in it.

        Raises:
            UnknownSetting: There is none.

        >>> Settings().find_option("acks_late", "task").setting.name
        'task_acks_late'
        """
        if namespace and f"{namespace}_{name}" in SETTINGS:
            return FoundOption(namespace, name, SETTINGS[f"{namespace}_{name}"])
        if name in SETTINGS:
            return FoundOption("", name, SETTINGS[name])
        for full, setting in SETTINGS.items():
            prefix, _, rest = full.partition("_")
            if rest == name:
                return FoundOption(prefix, name, setting)
        setting_of(f"{namespace}_{name}" if namespace else name)
        raise UnknownSetting(f"{name!r} is not the end of the name of a setting.")

    def find_value_for_key(self, name: str, namespace: str = "celery") -> Any:
        """The value of what :meth:`find_option` finds."""
        return self[self.find_option(name, namespace).setting.name]

    # -- showing

    def with_defaults(self) -> dict[str, Any]:
        """All settings."""
        self.load()
        return {name: self.__dict__[name] for name in SETTINGS}

    def without_defaults(self) -> dict[str, Any]:
        """The settings that have been set, or changed in place."""
        self.load()
        values, origin = self.__dict__, self._state.origin
        fallbacks = dict(_FALLBACKS)
        return {
            name: values[name]
            for name, setting in SETTINGS.items()
            if name in origin or (name not in fallbacks and values[name] != setting.default)
        }

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """The settings to be shown; secrets are hidden unless ``censored`` is off."""
        found = self.with_defaults() if with_defaults else self.without_defaults()
        if not censored:
            return found
        # Only people look at tables: the patterns cost a millisecond to compile.
        from umbel.app.configuring.censor import censored as fit_to_show

        return {name: fit_to_show(name, value) for name, value in found.items()}

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """:meth:`table`, a line per setting."""
        table = self.table(with_defaults, censored)
        return "\n".join(f"{name}: {value!r}" for name, value in table.items())

    def maybe_warn_deprecated_settings(self) -> bool:
        """Whether old names were used; they are not deprecated here, so nothing is said."""
        self.load()
        written = getattr(self._state.given, "written", {})
        return any(name in NAME_BY_OLD_NAME for name in written.values())

    def __reduce__(self) -> NoReturn:
        raise TypeError("settings are not pickled: pass the app, or conf.changes")


def _checked(wanted: Mapping[str, Any], origin: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in wanted.items():
        if is_foreign(name):
            found[name] = value
            continue
        setting = setting_of(name)
        kept = accepted(setting, value, origin)
        lacking = missing(setting.name, kept, setting.default)
        if lacking is not None and lacking.refused:
            raise UnsupportedSetting(
                f"{name!r} is {origin}, but {lacking.reason}. Without it tasks would be treated "
                f"otherwise than you ask; remove the setting to go on."
            )
        found[setting.name] = kept
    return found


def _warn_of_missing(found: Mapping[str, Any]) -> None:
    names_by_reason: dict[str, list[str]] = {}
    for name, value in found.items():
        setting = SETTINGS.get(name)
        lacking = missing(name, value, setting.default) if setting is not None else None
        if lacking is not None:
            names_by_reason.setdefault(lacking.reason, []).append(name)
    if names_by_reason:
        said = "; ".join(
            f"{', '.join(names)} ({reason})" for reason, names in names_by_reason.items()
        )
        warnings.warn(f"These settings have no effect: {said}.", UmbelWarning, stacklevel=3)


def _fresh(default: Any) -> Any:
    # Users change dicts in place: conf.beat_schedule["x"] = …
    copy = getattr(default, "copy", None)
    return default if copy is None else copy()
