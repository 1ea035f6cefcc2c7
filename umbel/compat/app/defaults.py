"""The table of settings, as Celery shows it.

Source:
    Celery reference, ``celery.app.defaults``: names and shapes. Names and defaults are umbel's,
    which are Celery's but for what the guide "Coming from Celery" lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from umbel.app.defaults import SETTINGS, Setting
from umbel.serialization.shapes import is_dict
from umbel.utils.serialization import strtobool

__all__ = [
    "DEFAULTS",
    "DEFAULT_ACCEPT_CONTENT",
    "DEFAULT_POOL",
    "DEFAULT_PROCESS_LOG_FMT",
    "DEFAULT_SECURITY_DIGEST",
    "DEFAULT_TASK_LOG_FMT",
    "NAMESPACES",
    "SETTING_KEYS",
    "Option",
    "find",
    "find_deprecated_settings",
    "flatten",
    "searchresult",
]

_GROUPS = (
    *("arangodb", "azureblockblob", "beat", "broker", "cache", "cassandra", "control"),
    *("cosmosdbsql", "couchbase", "database", "elasticsearch", "event", "gcs", "mongodb"),
    *("redis", "result", "s3", "security", "task", "worker"),
)
_ALONE = {"result_accept_content"}
"""Settings that belong to no group, though their names look like it."""
_TYPE_BY_KIND = {"str": "string", "any": "any", "url": "string", "list": "list"}


class Option:
    """What is known of a setting: its default, its type, and the names it had."""

    typemap: Mapping[str, Callable[[Any], Any]] = {
        "string": str,
        "int": int,
        "float": float,
        "any": lambda v: v,
        "bool": strtobool,
        "dict": dict,
        "tuple": tuple,
        "list": list,
    }
    alt: str | None = None
    deprecate_by: str | None = None
    remove_by: str | None = None
    old: set[str] = set()  # noqa: RUF012 - as documented

    def __init__(self, default: Any = None, *_args: Any, **kwargs: Any) -> None:
        self.default = default
        self.type: str = kwargs.pop("type", None) or "string"
        vars(self).update(kwargs)

    def to_python(self, value: Any) -> Any:
        """A value of the type."""
        return self.typemap[self.type](value)

    def __repr__(self) -> str:
        return f"<Option: type->{self.type} default->{self.default!r}>"


class searchresult(NamedTuple):  # noqa: N801 - Celery's name
    """A setting that was found."""

    namespace: str | None
    key: str
    type: Any


def _option(setting: Setting) -> Option:
    kind = setting.kind.partition(" ")[0]
    old = {} if setting.old is None else {"old": {setting.old.lower()}}
    return Option(setting.default, type=_TYPE_BY_KIND.get(kind, kind), **old)


def _groups() -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        group, _, rest = name.partition("_")
        if group in _GROUPS and name not in _ALONE:
            made.setdefault(group, {})[rest] = _option(setting)
        else:
            made[name] = _option(setting)
    return made


NAMESPACES = _groups()
"""Settings by name; those whose names begin alike in a dict by the rest of their names."""

DEFAULTS = {name: setting.default for name, setting in SETTINGS.items()}
SETTING_KEYS = set(SETTINGS)

DEFAULT_POOL = "prefork"
DEFAULT_ACCEPT_CONTENT = ("json",)
DEFAULT_PROCESS_LOG_FMT: str = SETTINGS["worker_log_format"].default
DEFAULT_TASK_LOG_FMT: str = SETTINGS["worker_task_log_format"].default
DEFAULT_SECURITY_DIGEST: str = SETTINGS["security_digest"].default


def _pair(ns: str, key: str, opt: Option) -> Iterable[Any]:
    return [(ns + key, opt)]


def flatten(
    d: Mapping[str, Any],
    root: str = "",
    keyfilter: Callable[[str, str, Any], Iterable[Any]] = _pair,
) -> Iterator[Any]:
    """Whole names with their options, of a table such as :data:`NAMESPACES`.

    Args:
        root: What all names begin with.
        keyfilter: Gives, for the beginning and the rest of a name and its option, what is given.
    """
    waiting = [(root, d)]
    while waiting:
        prefix, options = waiting.pop(0)
        for key, option in options.items():
            if is_dict(option):
                waiting.append((f"{prefix}{key}_", option))
            else:
                yield from keyfilter(prefix, key, option)


@cache
def find(name: str, namespace: str = "celery") -> searchresult:
    """The setting of that name in a namespace, else in any, else of that whole name.

    Raises:
        KeyError: There is none.

    >>> find("always_eager", "task").key, find("always_eager").namespace
    ('always_eager', 'task')
    """
    group, key = namespace.lower(), name.lower()
    found = NAMESPACES.get(group)
    if isinstance(found, dict) and key in found:
        return searchresult(group, key, found[key])
    for other, options in NAMESPACES.items():
        if other == key:
            return searchresult(None, other, options)
        if isinstance(options, dict) and key in options:
            return searchresult(other, key, options[key])
    return searchresult(None, key, dict(flatten(NAMESPACES))[key])


def find_deprecated_settings(source: Any) -> Any:
    """The source: no setting is deprecated; old names are read as what they are called now."""
    return source
