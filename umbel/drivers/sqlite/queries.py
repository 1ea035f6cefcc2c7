"""The SQL beside this file, by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

__all__ = ["queries", "schema"]


@cache
def queries() -> Mapping[str, str]:
    """Every statement of ``queries.sql`` by the name in the comment above it."""
    found: dict[str, str] = {}
    for part in _read("queries.sql").split("-- name: ")[1:]:
        name, _, rest = part.partition("\n")
        found[name.strip()] = _without_comments(rest).strip().removesuffix(";")
    return found


@cache
def schema() -> tuple[str, ...]:
    """The statements of ``schema.sql``, in order."""
    statements = _without_comments(_read("schema.sql")).split(";")
    return tuple(statement.strip() for statement in statements if statement.strip())


def _read(name: str) -> str:
    return files("umbel.drivers.sqlite").joinpath(name).read_text("utf-8")


def _without_comments(sql: str) -> str:
    return "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--"))
