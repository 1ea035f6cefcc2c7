"""Documents tasks with Sphinx: ``extensions = ["sphinx.ext.autodoc", "umbel.contrib.sphinx"]``.

``automodule`` finds the tasks of a module, and shows each with the signature of its function and a
prefix, which ``celery_task_prefix`` changes. One task alone is documented with ``.. autotask::
proj.tasks.add``, written down with ``.. py:task::``, referred to with ``:py:task:``.

Sphinx 9 documents in another way by default; its older one is switched on, since only that one
has documenters of one's own.

Source:
    Celery reference, ``celery.contrib.sphinx``: names, directives, the setting. Sphinx,
    "sphinx.ext.autodoc", ``autodoc_use_legacy_class_based``.
"""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from typing import Any, cast

from umbel.app.task import Task

__all__ = ["TaskDirective", "TaskDocumenter", "autodoc_skip_member_handler", "setup"]


def _sphinxs(module: str, name: str) -> Any:
    """A class of Sphinx; a stand-in where there is no Sphinx, and so nobody who would use it."""
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError:
        return object


_FunctionDocumenter: Any = _sphinxs("sphinx.ext.autodoc", "FunctionDocumenter")
_PyFunction: Any = _sphinxs("sphinx.domains.python", "PyFunction")


class TaskDocumenter(_FunctionDocumenter):  # type: ignore[misc]  # pyright: ignore[reportUntypedBaseClass]
    """Finds out what to say of a task."""

    object: Any
    """What it documents."""
    objtype = "task"
    # Above every other documenter of objects.
    priority = 20
    member_order = 11

    @classmethod
    def can_document_member(cls, member: Any, membername: str, isattr: bool, parent: Any) -> bool:
        """Whether it is a task that was made of a function."""
        return _function_of(member) is not None

    def import_object(self, raiseerror: bool = False) -> bool:
        """Find it; of a shared task what it stands for, which is what says something of itself."""
        base: Any = super()
        found: bool = base.import_object(raiseerror)
        if hasattr(self.object, "_get_current_object"):
            self.object = self.object._get_current_object()  # noqa: SLF001 - Celery's name for it
        return found

    def format_args(self, **_: Any) -> str:
        """The function's parameters, without the task that a bound one gets."""
        function = _function_of(self.object)
        if function is None:
            return ""
        found = signature(function)
        parameters = list(found.parameters.values())
        if parameters and parameters[0].name in {"self", "cls"}:
            found = found.replace(parameters=parameters[1:])
        return str(found)

    def document_members(self, all_members: bool = False) -> None:
        """A task has none that matter."""

    def check_module(self) -> bool:
        """Whether its function is the module's own; a task is an object of umbel's."""
        function = _function_of(self.object)
        base: Any = super()
        own: bool = getattr(function, "__module__", None) == self.modname
        return own or base.check_module()


class TaskDirective(_PyFunction):  # type: ignore[misc]  # pyright: ignore[reportUntypedBaseClass]
    """Shows a task as a function with a prefix."""

    def get_signature_prefix(self, sig: str) -> list[Any]:
        """The prefix."""
        text = import_module("docutils.nodes").Text
        return [text(self.env.config.celery_task_prefix), text(" ")]


def autodoc_skip_member_handler(
    app: Any, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Keep autodoc from skipping tasks: what they say of themselves is no copy of their class's."""
    return False if skip and _function_of(obj) is not None else None


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    # There from Sphinx 9 on.
    if "autodoc_use_legacy_class_based" in app.config:
        app.config.autodoc_use_legacy_class_based = True
    app.add_autodocumenter(TaskDocumenter)
    app.add_directive_to_domain("py", "task", TaskDirective)
    role = import_module("sphinx.domains.python").PyXRefRole
    app.add_role_to_domain("py", "task", role(fix_parens=True))
    app.add_config_value("celery_task_prefix", "(task)", "env")
    app.connect("autodoc-skip-member", autodoc_skip_member_handler)
    return {"parallel_read_safe": True}


def _function_of(thing: Any) -> Any:
    """The function that a task was made of; None: it is no such task."""
    is_task = isinstance(thing, Task)
    return getattr(cast("Any", thing), "__wrapped__", None) if is_task else None
