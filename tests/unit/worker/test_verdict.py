"""What becomes of a message once its task has run."""

from __future__ import annotations

import pytest

from umbel.execution.runnable import TaskOptions
from umbel.model import (
    Ack,
    Failed,
    Ignored,
    Message,
    Nack,
    Outcome,
    Rejected,
    Retried,
    Revoked,
    Succeeded,
)
from umbel.worker.settling.verdict import verdict

DONE, GIVE_BACK, DROP = Ack(), Nack(requeue=True), Nack(requeue=False)
TRY_AGAIN = Nack(requeue=True, counts=True)

PLAIN = TaskOptions()
RAISED = Failed(key=1, runtime=0.1, record=None)
LOST = Failed(key=1, runtime=0.1, record=None, cause="worker-lost", reason="signal 9 (SIGKILL)")
OVERRUN = Failed(key=1, runtime=0.1, record=None, cause="time-limit")


@pytest.mark.parametrize(
    ("outcome", "options", "expected"),
    [
        (Succeeded(key=1, runtime=0.1, record=None), PLAIN, DONE),
        (Retried(key=1, runtime=0.1, record=None, message=Message(id="a", body=b"")), PLAIN, DONE),
        (Ignored(key=1), PLAIN, DONE),
        (Revoked(key=1, record=None), PLAIN, DONE),
        (RAISED, PLAIN, DONE),
        (RAISED, TaskOptions(acks_on_failure=False), DROP),
        (RAISED, TaskOptions(acks_on_timeout=False), DONE),
        (LOST, PLAIN, DONE),
        (LOST, TaskOptions(acks_on_failure=False), DROP),
        (LOST, TaskOptions(reject_on_worker_lost=True), TRY_AGAIN),
        (LOST, TaskOptions(reject_on_worker_lost=True, acks_on_failure=False), TRY_AGAIN),
        (OVERRUN, PLAIN, DONE),
        (OVERRUN, TaskOptions(acks_on_failure=False), DONE),
        (OVERRUN, TaskOptions(acks_on_timeout=False), TRY_AGAIN),
        (OVERRUN, TaskOptions(reject_on_worker_lost=True), DONE),
        (Rejected(key=1, requeue=True), PLAIN, GIVE_BACK),
        (Rejected(key=1, requeue=False), PLAIN, DROP),
    ],
)
def test_the_verdict_follows_from_the_outcome_and_the_tasks_options(
    outcome: Outcome, options: TaskOptions, expected: Ack | Nack
) -> None:
    assert verdict(outcome, options) == expected
