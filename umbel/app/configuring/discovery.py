"""Import the task modules of packages."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType

__all__ = ["autodiscover", "related_module"]


def autodiscover(packages: Iterable[str], related_name: str | None = "tasks") -> list[ModuleType]:
    """The modules of that name in packages, imported; packages without one are skipped.

    Args:
        related_name: None: the packages themselves.
    """
    found = (related_module(package, related_name) for package in packages)
    return [module for module in found if module is not None]


def related_module(package: str, related_name: str | None) -> ModuleType | None:
    """``package.related_name``, or None if the package has no such module.

    Names of classes are understood as Django's applications are: ``shop.apps.ShopConfig`` means
    the package ``shop.apps``, and if that has no such module, ``shop``.

    Raises:
        ImportError: The package does not exist, or its module fails to import.
    """
    if not related_name:
        return importlib.import_module(package)
    wanted = f"{package}.{related_name}"
    try:
        parent = importlib.import_module(package)
    except ModuleNotFoundError as error:
        holder, _, last = package.rpartition(".")
        if not holder or error.name != package or not last[:1].isupper():
            raise
        return related_module(holder, related_name) or _of_parent(holder, related_name)
    if not hasattr(parent, "__path__"):
        # A module cannot hold another one.
        return None
    try:
        return importlib.import_module(wanted)
    except ModuleNotFoundError as error:
        if error.name != wanted:
            raise
        return None


def _of_parent(package: str, related_name: str) -> ModuleType | None:
    parent = package.rpartition(".")[0]
    return related_module(parent, related_name) if parent else None
