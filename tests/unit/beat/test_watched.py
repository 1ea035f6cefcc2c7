"""What others put around ``Scheduler.apply_entry`` counts for umbel's own scheduler, too."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from umbel import Umbel
from umbel.beat import Scheduler
from umbel.beat.sending import Sending
from umbel.model import Firing
from umbel.schedules.plan import plan_of
from umbel.wire import headers


def test_who_replaces_apply_entry_sees_each_entry_before_its_message_is_made(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = Umbel("app", broker="memory://", set_as_current=False)
    plan = plan_of("often", {"task": "tick", "schedule": 60, "options": {"priority": 3}}, app)
    firing = Firing(name="often", after=0, until=60, at=60, task_id="id-1")
    seen: list[Any] = []
    own = Scheduler.apply_entry

    def watch(scheduler: Any, entry: Any, *args: Any, **kwargs: Any) -> None:
        seen.append((scheduler.app, entry.name, entry.task, entry.schedule.seconds))
        entry.options["headers"] = {"monitor": entry.name}
        own(scheduler, entry, *args, **kwargs)

    monkeypatch.setattr(Scheduler, "apply_entry", watch)
    with caplog.at_level(logging.DEBUG):
        prepared = Sending(app).prepare([(plan, firing)])

    message = prepared.messages["id-1"]
    assert seen == [(app, "often", "tick", 60.0)]
    assert headers.read(message)["monitor"] == "often"
    assert message.priority == 3
    assert plan.options == {"priority": 3}
    assert "Sending due task" not in caplog.text


def test_an_entry_that_cannot_be_shown_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = Umbel("app", broker="memory://", set_as_current=False)
    plan = plan_of("often", {"task": "tick", "schedule": 60}, app)
    firing = Firing(name="often", after=0, until=60, at=60, task_id="id-1")

    def refuse(*_: Any) -> None:
        raise LookupError("no monitor")

    monkeypatch.setattr(Scheduler, "apply_entry", refuse)

    assert Sending(app).prepare([(plan, firing)]).messages == {}
    assert "Couldn't apply scheduled task often" in caplog.text
