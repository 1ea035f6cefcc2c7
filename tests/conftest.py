"""What holds for all tests: those marked ``alone`` run while no other test does.

With xdist several processes run tests at once. Everyone holds a lock on one file during a test:
shared, or exclusively for ``alone``. A second lock, taken first and released at once, is the
door: whoever waits for the room keeps it shut, so that nobody slips in meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import gettempdir

import hypothesis
import pytest

hypothesis.settings.register_profile(
    # How long an example takes says how busy the machine is.
    "umbel",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("umbel")

RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID")
"""Common to the processes of one run; None when there is only one process."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    # Outside of everything else, so that waiting does not count against the test's timeout.
    with ExitStack() as room:
        if RUN:
            folder = Path(gettempdir())
            with _locked(folder / f"umbel-tests-{RUN}.door", exclusive=True):
                alone = item.get_closest_marker("alone") is not None
                room.enter_context(_locked(folder / f"umbel-tests-{RUN}.room", exclusive=alone))
        return (yield)


@contextmanager
def _locked(path: Path, *, exclusive: bool) -> Iterator[None]:
    # There is no such module on Windows, where the tests run in one process.
    import fcntl

    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield


def pytest_sessionfinish() -> None:
    # The processes end one after the other; the first one's unlink leaves the others their file.
    if RUN:
        for name in ("door", "room"):
            (Path(gettempdir()) / f"umbel-tests-{RUN}.{name}").unlink(missing_ok=True)
