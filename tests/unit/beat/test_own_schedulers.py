"""Schedulers that are made for Celery, and keep their entries elsewhere."""

from __future__ import annotations

from typing import Any

from umbel import Umbel
from umbel.beat import Scheduler


def test_one_that_reads_the_setting_sees_what_was_added() -> None:
    class Kept(Scheduler):
        def setup_schedule(self) -> None:
            self.update_from_dict(self.app.conf.beat_schedule)

    app = Umbel("kept", broker="memory://kept", set_as_current=False)
    app.conf.beat_schedule = {"first": {"task": "a", "schedule": 5}}

    @app.on_after_configure.connect
    def add(sender: Any, **_: Any) -> None:
        sender.add_periodic_task(10.0, app.signature("b"), name="second")

    with app:
        app.finalize()
        assert sorted(Kept(app).schedule) == ["first", "second"]
        app.conf.task_acks_late = True
        assert sorted(app.conf.beat_schedule) == ["first", "second"]
