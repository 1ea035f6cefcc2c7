"""Types of options and arguments.

Source:
    Celery reference, ``celery.bin.base`` and ``celery.bin.worker``: names and behaviour.
"""

from __future__ import annotations

import json
from numbers import Integral
from typing import TYPE_CHECKING, Any

import click

from umbel.utils.log import mlevel
from umbel.utils.nodenames import default_nodename, host_format
from umbel.utils.text import str_to_list
from umbel.utils.time import maybe_iso8601

__all__ = [
    "AUTOSCALE",
    "CELERY_BEAT",
    "COMMA_SEPARATED_LIST",
    "HOSTNAME",
    "ISO8601",
    "ISO8601_OR_FLOAT",
    "JSON_ARRAY",
    "JSON_OBJECT",
    "LOG_LEVEL",
    "WORKERS_POOL",
    "Autoscale",
    "CeleryBeat",
    "CommaSeparatedList",
    "Hostname",
    "ISO8601DateTime",
    "ISO8601DateTimeOrFloat",
    "JsonArray",
    "JsonObject",
    "LogLevel",
    "WorkersPool",
]

_Parameter = click.Parameter | None
_Context = click.Context | None

if TYPE_CHECKING:
    _Type = click.ParamType[Any]
    _Choice = click.Choice[str]
else:
    # Generic only since click 8.2.
    _Type = click.ParamType
    _Choice = click.Choice


class CommaSeparatedList(_Type):
    """Texts between commas."""

    name = "comma separated list"

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> Any:
        """A list of them."""
        return str_to_list(value)


class _Json(_Type):
    kind: type
    called: str

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> Any:
        """What the JSON says."""
        if isinstance(value, self.kind):
            return value
        try:
            found = json.loads(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not isinstance(found, self.kind):
            self.fail(f"{value} was not an {self.called}", param, ctx)
        return found


class JsonArray(_Json):
    """A list as JSON."""

    name = "json array"
    kind = list
    called = "array"


class JsonObject(_Json):
    """A dict as JSON."""

    name = "json object"
    kind = dict
    called = "object"


class ISO8601DateTime(_Type):
    """A moment in ISO 8601."""

    name = "iso-86091"

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> Any:
        """A datetime."""
        try:
            return maybe_iso8601(value)
        except (TypeError, ValueError) as error:
            self.fail(str(error), param, ctx)


class ISO8601DateTimeOrFloat(ISO8601DateTime):
    """A moment in ISO 8601, or a number."""

    name = "iso-86091 or float"

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> Any:
        """A number, else a datetime."""
        try:
            return float(value)
        except (TypeError, ValueError):
            return super().convert(value, param, ctx)


class LogLevel(_Choice):
    """A level by its name, in any case, or by its number."""

    def __init__(self) -> None:
        super().__init__(("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL"))

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> Any:
        """Its number."""
        if isinstance(value, Integral):
            return value
        return mlevel(super().convert(value.upper(), param, ctx))


class Hostname(click.types.StringParamType):
    """The name of a node, or a part of it."""

    name = "hostname"

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> Any:
        """The whole name."""
        return host_format(default_nodename(value))


class Autoscale(_Type):
    """The most and the least processes: two numbers, or one."""

    name = "<min workers>, <max workers>"

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> Any:
        """Both numbers, the larger one first."""
        parts = value.split(",")
        if len(parts) > 2:
            self.fail(
                f"Expected two comma separated integers or one integer.Got {len(parts)} instead.",
                param,
                ctx,
            )
        try:
            numbers = [int(part) for part in parts]
        except ValueError:
            wanted = "an integer" if len(parts) == 1 else "two comma separated integers"
            self.fail(f"Expected {wanted}. Got {value!r} instead.", param, ctx)
        return tuple(sorted(numbers + [0] * (2 - len(numbers)), reverse=True))


class CeleryBeat(_Type):
    """Whether a worker sends periodic tasks too."""

    name = "beat"

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> Any:
        """As it is: umbel's workers can, on Windows too."""
        return value


class WorkersPool(_Choice):
    """A pool by its name."""

    name = "pool"

    def __init__(self) -> None:
        super().__init__(
            ("prefork", "eventlet", "gevent", "solo", "processes", "threads", "asyncio")
        )

    def convert(self, value: Any, param: _Parameter, ctx: _Context) -> Any:
        """The name; Celery gives a class, which its workers take, and umbel's take names.

        ``prefork`` is what was not chosen: then ``worker_pool`` says which.
        """
        name = super().convert(value, param, ctx)
        app = getattr(ctx.obj, "app", None) if ctx is not None else None
        return (app.conf.worker_pool if app is not None and name == "prefork" else None) or name


JSON_ARRAY = JsonArray()
JSON_OBJECT = JsonObject()
ISO8601 = ISO8601DateTime()
ISO8601_OR_FLOAT = ISO8601DateTimeOrFloat()
LOG_LEVEL = LogLevel()
COMMA_SEPARATED_LIST = CommaSeparatedList()
CELERY_BEAT = CeleryBeat()
WORKERS_POOL = WorkersPool()
HOSTNAME = Hostname()
AUTOSCALE = Autoscale()
