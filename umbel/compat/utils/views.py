"""Mappings over other things: attributes, several mappings at once, a configuration.

Source:
    Celery internals reference, ``celery.utils.collections``: names and behaviour.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, cast

from umbel.compat.utils.text import match_case
from umbel.utils.functional import first, uniq

__all__ = [
    "AttributeDict",
    "AttributeDictMixin",
    "ChainMap",
    "ConfigurationView",
    "DictAttribute",
    "OrderedDict",
    "force_mapping",
    "lpmerge",
]

OrderedDict = collections.OrderedDict


class AttributeDictMixin:
    """Keys that are attributes too."""

    def __getattr__(self, key: str) -> Any:
        mapping = cast("Mapping[str, Any]", self)
        try:
            return mapping[key]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {key!r}"
            ) from None

    def __setattr__(self, key: str, value: Any) -> None:
        cast("MutableMapping[str, Any]", self)[key] = value


class AttributeDict(dict[str, Any], AttributeDictMixin):
    """A dict whose keys are attributes.

    >>> AttributeDict(x=1).x
    1
    """


class DictAttribute(MutableMapping[str, Any]):
    """The attributes of an object as a mapping."""

    obj: Any

    def __init__(self, obj: Any) -> None:
        object.__setattr__(self, "obj", obj)

    def __getattr__(self, key: str) -> Any:
        return getattr(self.obj, key)

    def __setattr__(self, key: str, value: Any) -> None:
        setattr(self.obj, key, value)

    def __getitem__(self, key: str) -> Any:
        try:
            return getattr(self.obj, key)
        except AttributeError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self.obj, key, value)

    def __delitem__(self, key: str) -> None:
        try:
            delattr(self.obj, key)
        except AttributeError:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and hasattr(self.obj, key)

    def __iter__(self) -> Iterator[str]:
        return iter(dir(self.obj))

    def __len__(self) -> int:
        return len(dir(self.obj))

    # An object is equal to itself only, whatever its attributes are.
    __eq__ = object.__eq__
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]


def force_mapping(m: Any) -> Any:
    """A mapping as it is; the attributes of anything else, and of what Django wraps lazily."""
    wrapped = getattr(m, "_wrapped", None) if _is_lazy_settings(m) else None
    found = m if wrapped is None else wrapped
    return cast("Any", found) if isinstance(found, Mapping) else DictAttribute(found)


def _is_lazy_settings(value: object) -> bool:
    return any(kind.__module__ == "django.utils.functional" for kind in type(value).__mro__)


def lpmerge(
    L: MutableMapping[Any, Any],  # noqa: N803 - documented name
    R: Mapping[Any, Any],  # noqa: N803 - documented name
) -> MutableMapping[Any, Any]:
    """Put what is not None in ``R`` into ``L``; returns ``L``.

    >>> lpmerge({"a": 1, "b": 2}, {"a": None, "b": 3})
    {'a': 1, 'b': 3}
    """
    L.update({key: value for key, value in R.items() if value is not None})
    return L


class ChainMap(MutableMapping[Any, Any]):
    """Several mappings, searched in order; the first one takes what is changed.

    Args:
        key_t: What is done to each key before it is looked up.
    """

    def __init__(self, *maps: Mapping[Any, Any], key_t: Callable[[Any], Any] | None = None) -> None:
        chained = list(maps) or [{}]
        # Subclasses may turn attributes into keys.
        vars(self).update(
            key_t=key_t, maps=chained, changes=chained[0], defaults=chained[1:], _observers=[]
        )

    @property
    def _all(self) -> list[Any]:
        return cast("list[Any]", vars(self)["maps"])

    @property
    def _changes(self) -> Any:
        return vars(self)["changes"]

    def add_defaults(self, d: Any) -> None:
        """Search ``d`` next, after the changes."""
        vars(self)["defaults"].insert(0, force_mapping(d))
        self._all.insert(1, force_mapping(d))

    def bind_to(self, callback: Callable[..., object]) -> None:
        """Have ``callback`` called with what :meth:`update` is called with."""
        vars(self)["_observers"].append(callback)

    def _key(self, key: Any) -> Any:
        convert = vars(self)["key_t"]
        return key if convert is None else convert(key)

    def __missing__(self, key: Any) -> Any:
        raise KeyError(key)

    def __getitem__(self, key: Any) -> Any:
        return self._first_of([key])

    def _first_of(self, keys: Iterable[Any]) -> Any:
        keys = [self._key(key) for key in keys]
        for mapping in self._all:
            for key in keys:
                try:
                    return mapping[key]
                except KeyError:
                    continue
        return self.__missing__(keys[0])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._changes[self._key(key)] = value

    def __delitem__(self, key: Any) -> None:
        try:
            del self._changes[self._key(key)]
        except KeyError:
            raise KeyError(f"Key not found in first mapping: {key!r}") from None

    def pop(self, key: Any, *default: Any) -> Any:
        """Take a key out of the changes.

        Raises:
            KeyError: It is not among the changes, and there is no default.
        """
        try:
            return self._changes.pop(self._key(key), *default)
        except KeyError:
            raise KeyError(f"Key not found in the first mapping: {key!r}") from None

    def clear(self) -> None:
        """Undo all changes."""
        self._changes.clear()

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Set a key that is nowhere; returns what it is."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Change several keys, and tell those who are bound."""
        given = tuple(dict(one) for one in args)
        self._changes.update(*given, **kwargs)
        for callback in vars(self)["_observers"]:
            callback(*given, **kwargs)

    def copy(self) -> ChainMap:
        """One with changes of its own, over the same defaults."""
        return type(self)(self._all[0].copy(), *self._all[1:])

    __copy__ = copy

    @classmethod
    def fromkeys(cls, iterable: Iterable[Any], *args: Any) -> ChainMap:
        """One over a single mapping with these keys."""
        return cls(dict.fromkeys(iterable, *args))

    def __len__(self) -> int:
        names: set[Any] = set()
        return len(names.union(*self._all))

    def __iter__(self) -> Iterator[Any]:
        return uniq(key for mapping in reversed(self._all) for key in mapping)

    def __contains__(self, key: object) -> bool:
        return any(self._key(key) in mapping for mapping in self._all)

    def __bool__(self) -> bool:
        return any(map(bool, self._all))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._all))})"

    __eq__ = object.__eq__
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]


class ConfigurationView(ChainMap, AttributeDictMixin):
    """Changes over defaults, whose keys are attributes too.

    Args:
        keys: Functions, each of which gives another name to look a key up under.
        prefix: What a key is looked up with first: ``PREFIX_key``.
    """

    def __init__(
        self,
        changes: Mapping[str, Any],
        defaults: list[Mapping[str, Any]] | None = None,
        keys: Iterable[Callable[[str], str]] | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(changes, *(defaults or ()))
        vars(self).update(prefix=prefix.rstrip("_") + "_" if prefix else prefix, _keys=keys)

    def copy(self) -> ConfigurationView:
        """One with changes of its own, over the same defaults."""
        own = vars(self)
        made = type(self)(self._changes.copy(), own["defaults"], own["_keys"], own["prefix"])
        vars(made)["key_t"] = own["key_t"]
        return made

    __copy__ = copy

    def _names(self, key: str) -> list[str]:
        prefix, others = vars(self)["prefix"], vars(self)["_keys"]
        own = [key]
        if prefix:
            own = [match_case(key if key.startswith(prefix) else prefix + key, prefix), key]
        return own + [other(key) for other in others or ()]

    def __getitem__(self, key: str) -> Any:
        names = self._names(key)
        try:
            return self._first_of(names)
        except KeyError:
            if vars(self)["prefix"] and len(names) > 1:
                raise KeyError(f"Key not found: {names[1]!r} (with prefix: {names[0]!r})") from None
            raise

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and any(map(super().__contains__, self._names(key)))

    def first(self, *keys: str) -> Any:
        """The first of these that is not None."""
        return first(None, (self.get(key) for key in keys))

    def swap_with(self, other: ConfigurationView) -> None:
        """Become a view of what the other one views."""
        theirs = vars(other)
        vars(self).update({name: theirs[name] for name in ("changes", "defaults", "key_t")})
        vars(self).update({name: theirs[name] for name in ("prefix", "_keys")})
        vars(self)["maps"] = [theirs["changes"], *theirs["defaults"]]
