"""How the tests are shared out among the processes of ``--dist loadscope``.

The longest come first, so that nobody is left with one of them at the end, and those that have to
be alone last, when nobody else has to stop for them. A module stays in one process, where what its
tests have in common is made once; one that takes long without having anything in common is taken
test by test.
"""

from __future__ import annotations

import re

import pytest
from xdist.scheduler import LoadScopeScheduling

__all__ = ["Shares", "put_in_order"]

LONGEST = (
    "interop/test_monitoring.py",
    "interop/packages/",
    "interop/",
    "conformance/sqlite/test_processes.py",
    "conformance/pools/",
    "integration/test_beat.py",
    "integration/",
    "docs/",
    "conformance/",
)
"""What begins a test's path below tests/, in this order; all else is short, and comes after."""
TEST_BY_TEST = frozenset(
    {
        "conformance/pools/test_contracts.py",
        "conformance/pools/test_green.py",
        "conformance/pools/test_prefork.py",
        "conformance/sqlite/test_processes.py",
        "integration/test_background.py",
        "integration/test_beat.py",
        "integration/test_blocked_workers.py",
        "integration/test_ending.py",
        "integration/test_fetching.py",
        "integration/test_worker_process.py",
        "unit/contrib/test_pytest_plugin.py",
    }
)
"""Modules whose tests share nothing, and take long together."""
BY_BROKER = frozenset({"interop/test_monitoring.py", "integration/test_workflows.py"})
"""Modules whose tests share what there is of each broker."""
TOGETHER = ("interop/packages/", "conformance/rabbitmq/")
"""Modules whose names begin so share what is installed, or a server."""


class Shares(LoadScopeScheduling):
    """Gives each process one share after the other, in the order of the collection."""

    def _split_scope(self, nodeid: str) -> str:
        module = _module(nodeid)
        if module in TEST_BY_TEST:
            return nodeid
        if module in BY_BROKER:
            return " ".join([module, *re.findall("memory|sqlite|redis|rabbitmq", nodeid)])
        return next((start for start in TOGETHER if module.startswith(start)), module)


def put_in_order(items: list[pytest.Item]) -> None:
    """The longest first, those that have to be alone last, otherwise as they are."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    if item.get_closest_marker("alone") is not None:
        return len(LONGEST) + 1
    module = _module(item.nodeid)
    places = (place for place, start in enumerate(LONGEST) if module.startswith(start))
    return next(places, len(LONGEST))


def _module(nodeid: str) -> str:
    return nodeid.partition("::")[0].partition("tests/")[2]
