"""The names of workers: ``name@host``.

Source:
    Celery reference, ``celery.utils.nodenames``; Celery user guide, Workers, "Variables in file
    paths": what ``%h %n %d %i %I %p`` stand for.
"""

from __future__ import annotations

import os

from umbel.model import Exchange, Queue
from umbel.utils.text import simple_format

__all__ = [
    "PoolProcess",
    "anon_nodename",
    "default_nodename",
    "gethostname",
    "host_format",
    "node_format",
    "nodename",
    "nodesplit",
    "worker_direct",
]

NODENAME_SEP = "@"
NODENAME_DEFAULT = "celery"

_DIRECT_EXCHANGE = Exchange("C.dq2")


def gethostname() -> str:
    """The name of this machine."""
    # Programs that only send tasks import this module through nothing, but may; socket costs 3 ms.
    import socket

    return socket.gethostname()


def nodename(name: str, hostname: str) -> str:
    """The name of a node on a host.

    >>> nodename("mail", "a1")
    'mail@a1'
    """
    return f"{name}{NODENAME_SEP}{hostname}"


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """A name for this process."""
    return nodename(f"{prefix}{os.getpid()}", hostname or gethostname())


def nodesplit(name: str) -> tuple[str | None, str]:
    """The two parts of a node name; the first is None if there is only a host.

    >>> nodesplit("mail@a1"), nodesplit("a1")
    (('mail', 'a1'), (None, 'a1'))
    """
    first, at, host = name.partition(NODENAME_SEP)
    return (first, host) if at else (None, name)


def default_nodename(hostname: str | None, default_name: str = NODENAME_DEFAULT) -> str:
    """A whole node name from a part of one.

    >>> default_nodename("mail@a1"), default_nodename("a1"), default_nodename("a1", "celerybeat")
    ('mail@a1', 'celery@a1', 'celerybeat@a1')
    """
    name, host = nodesplit(hostname or "")
    return nodename(name or default_name, host or gethostname())


def node_format(s: str, name: str, **extra: str) -> str:
    """A text such as a file path, with the parts of a node name filled in.

    >>> node_format("/var/log/%n%I.log", "mail@a1.example.com")
    '/var/log/mail.log'
    """
    short, host = nodesplit(name)
    return host_format(s, host, short or NODENAME_DEFAULT, p=name, **extra)


def host_format(s: str, host: str | None = None, name: str | None = None, **extra: str) -> str:
    """Likewise, with the parts of a host name.

    >>> host_format("%n on %d of %h", "a1.example.com")
    'a1 on example.com of a1.example.com'
    """
    full = host or gethostname()
    short, _, domain = full.partition(".")
    number = PoolProcess.number
    keys = {"h": full, "n": name or short, "d": domain, "%": "%", "N": short}
    keys |= {"i": str(number), "I": f"-{number}" if number else ""}
    return simple_format(s, {**keys, **extra})


class PoolProcess:
    """Which process of a pool this is."""

    number = 0
    """1, 2, … in a process of the prefork pool; 0 in the worker itself, and anywhere else."""


def worker_direct(hostname: str | Queue) -> Queue:
    """The queue that one worker has for itself; a queue is what it is.

    >>> worker_direct("mail@a1").name
    'mail@a1.dq2'
    """
    if isinstance(hostname, Queue):
        return hostname
    return Queue(f"{hostname}.dq2", _DIRECT_EXCHANGE, routing_key=hostname)
