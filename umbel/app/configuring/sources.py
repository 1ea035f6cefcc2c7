"""Read settings from modules, classes, objects and mappings.

Old names (``CELERY_TASK_SERIALIZER``), new names (``task_serializer``) and names with a prefix
(``CELERY_TASK_SERIALIZER`` for the namespace ``CELERY``) come out as new names.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from umbel.app.configuring.configuration import Configuration
from umbel.app.configuring.suggestions import closest, did_you_mean
from umbel.app.defaults import NAME_BY_OLD_NAME, SETTINGS
from umbel.app.defaults.foreign import is_foreign, meant
from umbel.exceptions import ImproperlyConfigured, UmbelWarning, UnknownSetting

__all__ = ["read_object"]

_FIRST_WORDS = frozenset(name.partition("_")[0] for name in SETTINGS)
_OLD_FIRST_WORDS = ("CELERY", "BROKER_")
_OLD_PREFIX = "CELERY_"


def read_object(
    source: Any, namespace: str | None = None, *, name: str | None = None
) -> Configuration:
    """The settings that ``source`` holds.

    Modules, classes and objects hold other things too: what is no setting is left alone there,
    with a warning if it looks like one, and refused if it is the name of one misspelt; names that
    begin with an underscore are not looked at. In mappings what is no setting is an error.

    Where settings of others are accepted, they are among what is found; elsewhere they are kept
    beside it, to be read.

    Args:
        namespace: The prefix that names have; those without it are left alone.
        name: What the source is called, for errors.

    Raises:
        UnknownSetting: The name of a setting is misspelt, or a mapping holds something else.
        ImproperlyConfigured: Old and new names are mixed.
    """
    strict = _is_mapping(source)
    values: Mapping[str, Any] = source if strict else _attributes(source)
    place = _place(source, name)
    if namespace:
        written = _namespaced(values, namespace, place)
    else:
        written = _styled(values, place, strict=strict)
    if "timezone" not in written and values.get("TIME_ZONE"):
        # Django's name.
        written["timezone"] = "TIME_ZONE"
    found = {
        setting: values[key]
        for setting, key in written.items()
        if strict or not _merely_imported(setting, values[key])
    }
    renamed = {setting: key for setting, key in written.items() if setting != key}
    others: dict[str, object] = {}
    if not strict and not namespace:
        others = {
            key: value
            for key, value in values.items()
            if key not in found and key not in renamed.values() and not _is_private(key, value)
        }
    return Configuration(found, origin=f"set in {place}", written=renamed, others=others)


def _is_mapping(source: object) -> bool:
    return isinstance(source, Mapping)


def _attributes(source: Any) -> dict[str, Any]:
    if isinstance(source, ModuleType):
        return vars(source)
    found: dict[str, Any] = {}
    for name in dir(source):
        if not name.startswith("_"):
            # dir() may name what is not there; Django's settings do, and refuse what is empty.
            with suppress(Exception):
                found[name] = getattr(source, name)
    return found


def _place(source: Any, name: str | None) -> str:
    if isinstance(source, ModuleType):
        return f"the module {source.__name__!r}"
    if isinstance(source, type):
        return f"the class {source.__qualname__!r}"
    if name is not None:
        return repr(name)
    kind = "mapping" if isinstance(source, Mapping) else f"{type(source).__name__} object"
    return f"the {kind} given to config_from_object"


def _merely_imported(setting: str, value: object) -> bool:
    # "from datetime import timezone" in a configuration module sets no time zone.
    if isinstance(value, ModuleType):
        return True
    known = SETTINGS.get(setting)
    if known is None:
        return isinstance(value, type | FunctionType | BuiltinFunctionType)
    kinds = known.kind
    if isinstance(value, type):
        return "any" not in kinds and "class" not in kinds
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return "any" not in kinds and "callable" not in kinds
    return False


def _namespaced(values: Mapping[str, Any], namespace: str, place: str) -> dict[str, str]:
    prefix = namespace if namespace.endswith("_") else f"{namespace}_"
    written: dict[str, str] = {}
    for key in values:
        if not key.startswith(prefix):
            continue
        rest = key.removeprefix(prefix)
        setting = rest.lower()
        if setting in SETTINGS:
            written[setting] = key
            continue
        former = NAME_BY_OLD_NAME.get(key) or NAME_BY_OLD_NAME.get(rest)
        if former is not None:
            wanted = _prefixed(prefix, former)
            raise ImproperlyConfigured(
                f"{key!r}, set in {place}, is an old name of {former!r}. "
                f"With namespace={namespace!r} it is written {wanted}."
            )
        if is_foreign(setting):
            written[setting] = key
            continue
        misspelt = meant(setting)
        if misspelt is not None:
            raise UnknownSetting(_misspelt(key, _prefixed(prefix, misspelt), place))
        likely = closest(setting, SETTINGS)
        question = f" Did you mean {_prefixed(prefix, likely[0])!r}?" if likely else ""
        warnings.warn(
            f"{key!r}, set in {place}, is not a setting and has no effect.{question}",
            UmbelWarning,
            stacklevel=2,
        )
    return written


def _prefixed(prefix: str, setting: str) -> str:
    return prefix + (setting.upper() if prefix.isupper() else setting)


def _misspelt(key: str, wanted: str, place: str) -> str:
    return (
        f"{key!r}, set in {place}, is not a setting. Did you mean {wanted!r}? If it is yours, give "
        f"it a name that is not so near: _{key}, for example."
    )


def _styled(values: Mapping[str, Any], place: str, *, strict: bool) -> dict[str, str]:
    new = {key: key for key in values if key in SETTINGS}
    old = {NAME_BY_OLD_NAME[key]: key for key in values if key in NAME_BY_OLD_NAME}
    if not strict:
        new = {key: key for key in new if not _merely_imported(key, values[key])}
    if new and old:
        raise _mixed(new, old, place)
    others = [key for key in values if key not in SETTINGS and key not in NAME_BY_OLD_NAME]
    if strict:
        foreign = [key for key in others if is_foreign(key)]
        for key in others:
            if key != "TIME_ZONE" and key not in foreign:
                raise UnknownSetting(_unknown(key, place))
    else:
        others = [key for key in others if not _is_private(key, values[key])]
        for key in others:
            wanted = meant(key)
            if wanted is not None:
                raise UnknownSetting(_misspelt(key, wanted, place))
        foreign = [key for key in others if is_foreign(key)]
    _warn_of_likely([key for key in others if key.isupper() or key not in foreign], place)
    return (new or old) | {key: key for key in foreign}


def _is_private(key: str, value: object) -> bool:
    return key.startswith("_") or _merely_imported(key, value)


def _mixed(new: Mapping[str, str], old: Mapping[str, str], place: str) -> ImproperlyConfigured:
    if len(new) >= len(old):
        renames = {key: setting for setting, key in old.items()}
        style = "new names, which most of it has"
    else:
        former = {setting: key for key, setting in NAME_BY_OLD_NAME.items()}
        renames = {key: former.get(key, f"{key} (it has no old name)") for key in new}
        style = "old names, which most of it has"
    lines = "".join(f"\n    {key} -> {to}" for key, to in renames.items())
    return ImproperlyConfigured(
        f"{place} mixes old and new names of settings. Keep to the {style}; rename:{lines}"
    )


def _unknown(key: str, place: str) -> str:
    setting = _after_prefix(key)
    if setting is not None:
        return (
            f"{key!r}, set in {place}, is not a setting. It is {setting!r} with the prefix "
            f"{key[: -len(setting) - 1]!r}: pass namespace={key[: -len(setting) - 1]!r}."
        )
    return f"{key!r}, set in {place}, is not a setting.{_question(key)}"


def _question(key: str) -> str:
    if not key.startswith(_OLD_PREFIX):
        return did_you_mean(key, NAME_BY_OLD_NAME) or did_you_mean(key.lower(), SETTINGS)
    # The prefix is the same in all of them: it would make any two look alike.
    rests = [old.removeprefix(_OLD_PREFIX) for old in NAME_BY_OLD_NAME]
    found = closest(key.removeprefix(_OLD_PREFIX), rests)
    return f" Did you mean '{_OLD_PREFIX}{found[0]}'?" if found else ""


def _after_prefix(key: str) -> str | None:
    rest = key.partition("_")[2].lower()
    return rest if key.isupper() and rest in SETTINGS else None


def _warn_of_likely(keys: Iterable[str], place: str) -> None:
    for key in keys:
        likely = (
            key.startswith(_OLD_FIRST_WORDS)
            if key.isupper()
            else "_" in key and key.partition("_")[0] in _FIRST_WORDS
        )
        if not likely and key.lower() not in SETTINGS:
            continue
        said = _unknown(key, place)
        if not said.endswith("is not a setting."):
            warnings.warn(f"{said} It has no effect.", UmbelWarning, stacklevel=2)
