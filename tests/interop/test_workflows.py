"""Workflows of either side's client, run by the other side's workers, over Redis and RabbitMQ."""

from __future__ import annotations

from typing import Any

import celery
import pytest

import umbel

BOTH_WAYS = pytest.mark.parametrize(
    "client", [("umbel", "celery"), ("celery", "umbel")], indirect=True
)


class Canvas:
    """How workflows are written on the client's side."""

    def __init__(self, app: Any) -> None:
        kind: Any = umbel if isinstance(app, umbel.Umbel) else celery
        self.chain, self.group, self.chord = kind.chain, kind.group, kind.chord
        self._app = app

    def s(self, name: str, *args: Any, **options: Any) -> Any:
        queue = self._app.conf.task_default_queue
        return self._app.signature(f"interop.{name}", args, queue=queue, **options)


@pytest.mark.slow
@BOTH_WAYS
def test_workflows_of_all_kinds_have_the_same_results_on_the_other_side(client: Any) -> None:
    canvas = Canvas(client)
    chain, group, chord, s = canvas.chain, canvas.group, canvas.chord, canvas.s
    app = {"app": client}
    pair = [s("add", 1, 1), s("add", 2, 2)]

    cases: list[tuple[Any, Any]] = [
        (chain(s("add", 1, 1), s("add", 2), s("add", 3), **app), 7),
        (group(pair, **app), [2, 4]),
        (chord(pair, s("echo"), **app), [[[2, 4]], {}]),
        (chain(s("add", 1, 1), group([s("add", 1), s("add", 2)], **app), **app), [3, 4]),
        (
            chain(s("add", 1, 1), group([s("add", 1), s("add", 2)], **app), s("echo"), **app),
            [[[3, 4]], {}],
        ),
        (chord(pair, chain(s("echo"), s("echo"), **app), **app), [[[[[2, 4]], {}]], {}]),
        (
            chord([chord(pair, s("echo"), **app), s("add", 5, 5)], s("echo"), **app),
            [[[[[[2, 4]], {}], 10]], {}],
        ),
        (
            chord([chain(s("add", 1, 1), s("add", 1), **app), s("add", 5, 5)], s("echo"), **app),
            [[[3, 10]], {}],
        ),
        (s("add", 1, 1, immutable=True), 2),
    ]

    for signature, value in cases:
        assert signature.apply_async().get(timeout=30) == value


@pytest.mark.slow
@BOTH_WAYS
def test_links_are_called_on_the_other_side(client: Any) -> None:
    canvas = Canvas(client)
    callback = canvas.s("add", 1)
    result = callback.freeze()

    canvas.s("add", 1, 1, link=[callback]).apply_async().get(timeout=30)

    assert result.get(timeout=30) == 3


@pytest.mark.slow
@BOTH_WAYS
def test_failures_reach_the_end_of_workflows_on_the_other_side(client: Any) -> None:
    canvas = Canvas(client)
    s, app = canvas.s, {"app": client}

    chained = canvas.chain(s("fail", "no"), s("add", 1), s("add", 1), **app)
    with pytest.raises(ValueError, match="no"):
        chained.apply_async().get(timeout=30)

    broken = canvas.chord([s("add", 1, 1), s("fail", "no")], s("echo"), **app).apply_async()
    with pytest.raises(Exception, match=r"raised ValueError") as caught:
        broken.get(timeout=30, follow_parents=False)
    assert type(caught.value).__name__ == "ChordError"
