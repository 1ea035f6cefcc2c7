"""Rows of the tables of names."""

from __future__ import annotations

__all__ = ["each", "within"]


def within(package: str, modules: str) -> str:
    """The paths of modules of a package, as a row of homes has them."""
    return " ".join(f"{package}.{module}" for module in modules.split())


def each(module: str, **targets: str) -> dict[str, str]:
    """The rows of several names of a module."""
    return {f"{module}.{name}": target for name, target in targets.items()}
