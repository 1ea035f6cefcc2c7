"""Who fetches what: a long task never holds short ones back while another worker has time."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable

import pytest

from .site import EARLY_AND_LATE, Site

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"),
    pytest.mark.alone if os.environ.get("FETCHING") == "all" else pytest.mark.slow,
]


BROKERS, NAMES, POOLS = ["sqlite", "redis", "rabbitmq"], ["early", "late"], ["prefork", "threads"]
# Each pair of them at least once; all together with FETCHING=all.
SOME = [
    ("sqlite", "early", "prefork"),
    ("sqlite", "late", "threads"),
    ("redis", "late", "prefork"),
    ("redis", "early", "threads"),
    ("rabbitmq", "early", "prefork"),
    ("rabbitmq", "late", "threads"),
]
# Two seconds are the goal, and what 100 tasks of ten milliseconds take on a machine with something
# else to do, too. Everywhere else more is allowed: a minute is what those wait that wait in vain.
IN_TIME = 2.0 if os.environ.get("FETCHING") == "all" else 30.0
ALL = list(itertools.product(BROKERS, NAMES, POOLS))


@pytest.fixture
def site(request: pytest.FixtureRequest, make_site: Callable[[str, str], Site]) -> Site:
    return make_site(request.param, EARLY_AND_LATE)


@pytest.mark.parametrize(
    ("site", "name", "pool"),
    ALL if os.environ.get("FETCHING") == "all" else SOME,
    indirect=["site"],
)
def test_short_tasks_sent_after_a_long_one_are_done_at_once_by_another_worker(
    site: Site, name: str, pool: str
) -> None:
    workers = [site.ready("-c", "1", "-P", pool, "-n", f"{place}@%h") for place in range(2)]
    # Both have had something to do, and expect the next to be as short.
    for result in [site.app.send_task(name, (number,)) for number in range(50)]:
        result.get(timeout=60)

    long = site.app.send_task(name, (1000, 60.0))
    shorts = [site.app.send_task(name, (number, 0.01)) for number in range(1001, 1101)]
    sent = time.monotonic()
    assert [result.get(timeout=IN_TIME) for result in shorts] == list(range(1001, 1101))

    assert time.monotonic() - sent < IN_TIME
    assert not long.ready()
    assert sorted(set(site.started())) == [*range(50), *range(1000, 1101)]
    for worker in workers:
        worker.send_signal(signal.SIGQUIT)
