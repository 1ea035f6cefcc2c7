"""How much memory this process uses, and has used."""

from __future__ import annotations

from collections import deque
from importlib import import_module

__all__ = ["rss", "samples_of"]

_samples: deque[str] = deque(maxlen=1000)
"""What ``memsample`` has said; written by commands, which all run on one loop."""


def rss() -> str | None:
    """The resident memory of this process, for people; None without psutil. It is remembered.

    Source:
        Celery reference, ``celery.utils.debug``: ``sample_mem``.
    """
    try:
        # Optional: psutil.
        psutil = import_module("psutil")
    except ImportError:
        return None
    shown = _shown(psutil.Process().memory_info().rss)
    _samples.append(shown)
    return shown


def samples_of(count: int) -> str:
    """Up to ``count`` of the samples, spread over all of them, and the memory now."""
    samples = list(_samples)
    step = max(1, len(samples) // max(1, count))
    lines = [f"- rss (sample {index + 1}): {text}." for index, text in enumerate(samples)][::step]
    now = rss()
    if now is None:
        return "- rss: (psutil not installed).\n"
    return "\n".join([*lines, f"- rss (end): {now}.", ""])


def _shown(size: float) -> str:
    """A size, for people.

    >>> _shown(512), _shown(5 * 1024 * 1024)
    ('512B', '5.0MB')
    """
    if size < 1024:
        return f"{size:.0f}B"
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1024
        if size < 1024 or unit == "TB":
            return f"{size:.1f}{unit}"
    raise AssertionError("the last unit fits everything")
