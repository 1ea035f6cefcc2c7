"""The parts of a graph in the DOT language, as templates.

Source:
    Celery reference, ``celery.utils.graph.DOT``: names and templates.
"""

from __future__ import annotations

__all__ = ["DOT"]


class DOT:
    """Templates for :meth:`str.format`.

    >>> DOT.NODE.format("mail", INp="  ", attrs='shape="box"')
    '  "mail" [shape="box"]'
    """

    HEAD = "\n{IN}{type} {id} {{\n{INp}graph [{attrs}]\n"
    ATTR = "{name}={value}"
    NODE = '{INp}"{0}" [{attrs}]'
    EDGE = '{INp}"{0}" {dir} "{1}" [{attrs}]'
    ATTRSEP = ", "
    DIRS = {"graph": "--", "digraph": "->"}  # noqa: RUF012 - documented as a class attribute
    TAIL = "{IN}}}"
