"""What the machine has: processors, load, space on disks.

Source:
    Celery internals reference, ``celery.utils.sysinfo``: names, the rule of ``cpu_budget``.
    The kernel's documents of control groups: ``cpu.max`` of version 2 holds quota and period in
    microseconds, ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us`` do in version 1; a group has no
    more than the groups above it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cached_property
from math import ceil
from pathlib import Path, PurePosixPath
from typing import NamedTuple

__all__ = [
    "AUTO_CONCURRENCY",
    "CGROUP_ROOT",
    "PROC_SELF_CGROUP",
    "CpuBudget",
    "available_cpu_count",
    "cgroup_cpu_quota",
    "cpu_budget",
    "df",
    "is_auto_concurrency",
    "load_average",
]

AUTO_CONCURRENCY = "auto"
"""As ``worker_concurrency``: as many as :func:`cpu_budget` says."""

CGROUP_ROOT = "/sys/fs/cgroup"
PROC_SELF_CGROUP = "/proc/self/cgroup"


class CpuBudget(NamedTuple):
    """How many processors a pool may keep busy."""

    count: int  # type: ignore[assignment]  # as Celery calls it, though tuples have count()
    """That many."""
    available: int
    """That many the process may run on."""
    quota: float | None
    """Of so many it gets the time; None: of all."""


def is_auto_concurrency(value: object) -> bool:
    """Whether a concurrency is the word ``auto``.

    >>> is_auto_concurrency(" Auto "), is_auto_concurrency(4)
    (True, False)
    """
    return isinstance(value, str) and value.strip().lower() == AUTO_CONCURRENCY


def available_cpu_count() -> int:
    """How many processors this process may run on; 2 where nobody knows."""
    if hasattr(os, "sched_getaffinity"):
        try:
            return len(os.sched_getaffinity(0))
        except OSError:
            # A sandbox may forbid the question.
            pass
    return os.cpu_count() or 2


def cgroup_cpu_quota() -> float | None:
    """Of how many processors the control group of this process gets the time; None: of all."""
    second, first, controllers = _own_groups()
    if second is None and first is None:
        second = first = "/"
    if second is not None:
        quota = _least(Path(CGROUP_ROOT), second, _quota_of_second)
        if quota is not None:
            return quota
    if first is not None:
        for mount in dict.fromkeys((controllers, "cpu")):
            quota = _least(Path(CGROUP_ROOT, mount), first, _quota_of_first)
            if quota is not None:
                return quota
    return None


def cpu_budget(use_cgroup_quota: bool = True) -> CpuBudget:
    """How many processors a pool may keep busy: the available ones, at most the quota rounded up.

    Args:
        use_cgroup_quota: False: whatever the control group says.
    """
    available = available_cpu_count()
    quota = cgroup_cpu_quota() if use_cgroup_quota else None
    count = available if quota is None else min(available, max(1, ceil(quota)))
    return CpuBudget(count, available, quota)


def load_average() -> tuple[float, ...]:
    """How many processes wanted to run in the last 1, 5 and 15 minutes; zeros on Windows."""
    if not hasattr(os, "getloadavg"):
        return 0.0, 0.0, 0.0
    return tuple(ceil(load * 100) / 100 for load in os.getloadavg())


class df:  # noqa: N801 - documented name
    """The space on the disk that a path is on."""

    def __init__(self, path: str | bytes | os.PathLike[str]) -> None:
        self.path = path

    @cached_property
    def stat(self) -> os.statvfs_result:
        """As the system says."""
        return os.statvfs(self.path)

    @property
    def total_blocks(self) -> float:
        """Its size in KiB."""
        return self.stat.f_blocks * self.stat.f_frsize / 1024

    @property
    def available(self) -> float:
        """What is free in KiB."""
        return self.stat.f_bavail * self.stat.f_frsize / 1024

    @property
    def capacity(self) -> int:
        """How much of it is in use, in percent, as ``df`` shows it."""
        used = self.stat.f_blocks - self.stat.f_bfree
        return ceil(used * 100 / (used + self.stat.f_bavail) + 0.5)


def _own_groups() -> tuple[str | None, str | None, str]:
    """The group of this process in version 2, in version 1, and what the latter controls."""
    second = first = None
    controllers = "cpu"
    for line in _lines(Path(PROC_SELF_CGROUP)):
        hierarchy, named, path = [*line.split(":", 2), "", ""][:3]
        if not path:
            continue
        if hierarchy == "0" and not named:
            second = path
        elif "cpu" in named.split(","):
            first, controllers = path, named
    return second, first, controllers


def _least(mount: Path, group: str, quota_of: Callable[[Path], float | None]) -> float | None:
    quotas = (quota_of(mount / above) for above in _upwards(group))
    return min((quota for quota in quotas if quota is not None), default=None)


def _upwards(group: str) -> Iterator[str]:
    """The path of a group below the mount, and those of the groups above it.

    >>> list(_upwards("/a/../b/c"))
    ['b/c', 'b', '.']
    """
    path = PurePosixPath(os.path.normpath("/" + group.lstrip("/")).lstrip("/"))
    yield str(path)
    if path.parts:
        yield from map(str, path.parents)


def _quota_of_second(group: Path) -> float | None:
    words = " ".join(_lines(group / "cpu.max")).split()
    return _ratio(*words) if len(words) == 2 else None


def _quota_of_first(group: Path) -> float | None:
    quota = "".join(_lines(group / "cpu.cfs_quota_us"))
    return _ratio(quota, "".join(_lines(group / "cpu.cfs_period_us")))


def _ratio(quota: str, period: str) -> float | None:
    # "max" in version 2 and -1 in version 1 mean that there is no limit.
    try:
        limit, of = int(quota), int(period)
    except ValueError:
        return None
    return limit / of if limit > 0 and of > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        # Not Linux, not this version, or not to be seen from here.
        return []
