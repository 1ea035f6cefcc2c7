"""``pydantic=True``: arguments that are models arrive as models, and results leave as dicts.

Source:
    Celery user guide, Tasks, "Argument validation with Pydantic".
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any

from umbel.exceptions import ImproperlyConfigured

__all__ = ["checked"]


def checked(
    function: Callable[..., Any],
    *,
    strict: bool,
    context: Mapping[str, Any] | None,
    dump: Mapping[str, Any] | None,
    app_name: str,
) -> Callable[..., Any]:
    """``function``, with the arguments that are annotated as models made into these models, and a
    returned model made into a dict.

    Args:
        strict: pydantic's strict mode.
        context: pydantic's validation context; ``celery.app`` and ``celery.task_name`` are added.
        dump: Arguments of ``model_dump``; ``mode="json"`` by default.

    Raises:
        ImproperlyConfigured: pydantic is not installed.
    """
    try:
        from pydantic import BaseModel  # an extra: only tasks that ask for it need it
    except ModuleNotFoundError as error:
        message = "pydantic=True needs pydantic. Install it with: pip install 'umbel[pydantic]'"
        raise ImproperlyConfigured(message) from error

    signature = inspect.signature(function)
    hints = typing.get_type_hints(function)
    models = {
        name: model
        for name in signature.parameters
        if (model := _model_of(hints.get(name), BaseModel)) is not None
    }
    scope = {**(context or {}), "celery.app": app_name, "celery.task_name": function.__qualname__}
    dump_options: dict[str, Any] = {"mode": "json"} if dump is None else dict(dump)

    def convert(args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        bound = signature.bind(*args, **kwargs)
        for name, model in models.items():
            value = bound.arguments.get(name)
            if value is not None and not isinstance(value, model):
                bound.arguments[name] = model.model_validate(value, strict=strict, context=scope)
        return bound

    def reduce(value: Any) -> Any:
        return value.model_dump(**dump_options) if isinstance(value, BaseModel) else value

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def arun(*args: Any, **kwargs: Any) -> Any:
            bound = convert(args, kwargs)
            return reduce(await function(*bound.args, **bound.kwargs))

        return arun

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        bound = convert(args, kwargs)
        return reduce(function(*bound.args, **bound.kwargs))

    return run


def _model_of(hint: Any, base: type) -> Any:
    """The model that a parameter is annotated with, ``Optional`` included."""
    if typing.get_origin(hint) in {typing.Union, UnionType}:
        others = [one for one in typing.get_args(hint) if one is not NoneType]
        hint = others[0] if len(others) == 1 else None
    return hint if isinstance(hint, type) and issubclass(hint, base) else None
