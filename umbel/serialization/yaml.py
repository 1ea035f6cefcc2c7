"""YAML, the safe subset, through PyYAML (``pip install 'umbel[yaml]'``).

Source:
    kombu reference, ``kombu.serialization``: ``safe_dump`` and ``safe_load``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from umbel.exceptions import DecodeError, EncodeError
from umbel.serialization.culprit import refusal
from umbel.serialization.shapes import is_list

__all__ = ["dumps", "loads"]

_HINT = "Pass something simpler, or use task_serializer='pickle'."
_MISSING = "YAML needs PyYAML, which is not installed: pip install 'umbel[yaml]'."

_DEEPEST = 200
"""Levels of nesting; libyaml's composer overruns the C stack some thousands further down."""
_MOST_NODES = 1_000_000
"""With aliases written out; a few hundred bytes can stand for billions of nodes."""


def dumps(value: object) -> bytes:
    """The value as YAML, UTF-8.

    Raises:
        EncodeError: Names the type that cannot be written, and where it sits; or PyYAML is
            not installed.
    """
    try:
        yaml = import_module("yaml")
    except ImportError as error:
        raise EncodeError(_MISSING) from error
    try:
        return _dump(yaml, value)
    except RecursionError as error:
        raise EncodeError("cannot encode as YAML: the value is nested too deeply.") from error
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise refusal(
            value, form="YAML", encodes=lambda part: _encodes(yaml, part), hint=_HINT
        ) from error


def loads(data: bytes) -> object:
    """The value that ``data`` stands for.

    Raises:
        DecodeError: It is not YAML, names Python objects, is nested too deeply, or expands to
            more than a million nodes; or PyYAML is not installed.
    """
    try:
        yaml = import_module("yaml")
    except ImportError as error:
        raise DecodeError(_MISSING) from error
    flavour = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = None
    try:
        _check_depth(yaml, data, flavour)
        loader = flavour(data)
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded(node, {}) > _MOST_NODES:
            raise DecodeError("cannot decode YAML: its aliases expand to over a million nodes.")
        return loader.construct_document(node)
    except RecursionError as error:
        raise DecodeError("cannot decode YAML: it is nested too deeply.") from error
    except (yaml.YAMLError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise DecodeError(f"cannot decode YAML: {_first_line(error)}.") from error
    except AttributeError as error:
        # What PyYAML's number and date constructors make of malformed values.
        raise DecodeError("cannot decode YAML: it holds a malformed value.") from error
    finally:
        if loader is not None:
            loader.dispose()


def _check_depth(yaml: Any, data: bytes, flavour: Any) -> None:
    depth = 0
    for event in yaml.parse(data, Loader=flavour):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise DecodeError("cannot decode YAML: it is nested too deeply.")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _dump(yaml: Any, value: object) -> bytes:
    dumped: bytes = yaml.dump(
        value, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), encoding="utf-8"
    )
    return dumped


def _encodes(yaml: Any, value: object) -> bool:
    try:
        _dump(yaml, value)
    except (yaml.YAMLError, TypeError, ValueError, RecursionError):
        return False
    return True


def _expanded(node: Any, sizes: dict[int, int]) -> int:
    """How many nodes there are when every alias is written out; infinite ones are refused."""
    known = sizes.get(id(node))
    if known is not None:
        return known
    # While its children are counted; who meets it then is inside it.
    sizes[id(node)] = _MOST_NODES + 1
    size = 1
    if is_list(node.value):
        for child in node.value:
            pair = child if is_list(child) else (child,)
            size += sum(_expanded(part, sizes) for part in pair)
    sizes[id(node)] = size
    return size


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
