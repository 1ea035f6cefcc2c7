"""What others put around ``kombu.Producer.publish`` sees the messages of tasks."""

from __future__ import annotations

from typing import Any

import pytest

from umbel import Umbel
from umbel.app.connecting.publishing import Producer


def test_what_is_put_around_publish_sees_tasks_and_may_change_their_headers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = Producer.publish
    seen: list[Any] = []

    def publish(self: Producer, *args: Any, **kwargs: Any) -> Any:
        headers = kwargs["headers"]
        driver = self.connection.transport.driver_type
        seen.append((headers["task"], headers["id"], kwargs["routing_key"], driver))
        kwargs["headers"] = {**headers, "trace": "abc"}
        return own(self, *args, **kwargs)

    monkeypatch.setattr(Producer, "publish", publish)
    with Umbel("app", broker="memory://wrapped", set_as_current=False) as app:

        @app.task(name="add", compression="zlib", priority=3)
        def add(x: int, y: int) -> int:
            return x + y

        sent = add.apply_async((1, 2), countdown=60, expires=90)
        more = add.apply_many([(n, n) for n in range(2)])

        async def messages() -> Any:
            broker = await app.connections.broker()
            return await broker.receive(["celery"], limit=10, wait=0)

        [first, _] = app.portal.call(messages)
        assert seen == [("add", each.id, "celery", "memory") for each in (sent, *more)]
        assert b'"trace":"abc"' in first.message.headers
        assert first.message.priority == 3

        monkeypatch.setattr(Producer, "publish", lambda *_, **__: None)
        with pytest.raises(RuntimeError, match="has not sent task add"):
            add.delay(1, 2)
