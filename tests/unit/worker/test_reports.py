"""What the log says when the worker starts."""

from __future__ import annotations

import pytest

from umbel import Umbel
from umbel.worker import reports


def test_options_that_nothing_carries_out_are_named_with_their_tasks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Umbel("limits", broker="memory://", set_as_current=False)
    app.task(name="slow", time_limit=30)(lambda: None)
    app.task(name="busy", rate_limit="10/m", time_limit=60)(lambda: None)
    app.task(name="plain")(lambda: None)

    reports.without_effect(app.tasks)

    assert caplog.messages == [
        "time_limit has no effect in this release, and these tasks set it: busy, slow",
    ]
