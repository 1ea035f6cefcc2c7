"""What is asked of RabbitMQ by transport options, and not done, is said."""

from __future__ import annotations

import pytest

from umbel.drivers.rabbitmq.options import check


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"confirm_publish": False}, "confirm_publish=False is not obeyed"),
        ({"heartbeet": 5}, "'heartbeet' has no effect on RabbitMQ; did you mean 'heartbeat'?"),
        ({"frame_max": 5}, "'frame_max' has no effect on RabbitMQ."),
    ],
)
def test_what_is_not_done_is_said(
    options: dict[str, object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    check(options)

    assert [said in record.getMessage() for record in caplog.records] == [True]


def test_what_is_done_or_not_needed_is_not_spoken_of(caplog: pytest.LogCaptureFixture) -> None:
    check({"confirm_publish": True, "heartbeat": 5, "visibility_timeout": 10, "max_retries": 3})

    assert caplog.records == []
