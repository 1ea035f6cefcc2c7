"""What tests measure in seconds: strictly where there is time for it, with slack elsewhere."""

from __future__ import annotations

import os

import pytest

__all__ = ["LONG", "SECOND", "SLACK", "measured"]

LONG = bool(os.environ.get("UMBEL_LONG_TESTS"))
"""Whether there is time, and a machine that does nothing else."""
SECOND = 1.0 if LONG else 10.0
"""What "within a second" may take. Elsewhere other programs keep the machine busy."""
SLACK = 0.0 if LONG else 20.0
"""What may be added to a time that a promise is about."""

measured = pytest.mark.alone if LONG else pytest.mark.slow
"""For a test that nothing may disturb where it is strict, and anything may elsewhere."""
