"""Which of the received messages may run, and what becomes of the others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from umbel.clock import ManualClock
from umbel.execution.runnable import TaskOptions
from umbel.model import Delivery, Message, Request
from umbel.worker.fetching.admission import Ruling, admit
from umbel.worker.revoking.revocations import Revocations, of_ids

NOW = 1_000_000.0
NONE = Revocations(ManualClock(), most=10, seconds=60)
KNOWN = {"early": TaskOptions(), "late": TaskOptions(acks_late=True)}


def arrival(
    key: int,
    task: str = "early",
    *,
    eta: float | None = None,
    expires: float | None = None,
    begun: bool = False,
    attempt: int = 1,
) -> tuple[Request, Delivery]:
    message = Message(id=f"id-{key}", body=b"[]")
    delivery = Delivery(message=message, queue="q", tag=f"tag-{key}", begun=begun, attempt=attempt)
    request = Request(
        key=key, id=message.id, task=task, message=message, eta=eta, expires=expires, queue="q"
    )
    return request, delivery


def keys(ruling: Ruling) -> dict[str, list[int]]:
    return {
        "run": [accepted.request.key for accepted in ruling.run],
        "hold": [accepted.request.key for accepted in ruling.hold],
        "put_off": [accepted.request.key for accepted in ruling.put_off],
        "limited": [accepted.request.key for accepted in ruling.limited],
        "revoked": [accepted.request.key for accepted in ruling.revoked],
        "expired": [accepted.request.key for accepted in ruling.expired],
        "spent": [accepted.request.key for accepted in ruling.spent],
        "unknown": [request.key for request, _ in ruling.unknown],
        "orphaned": [request.key for request, _ in ruling.orphaned],
    }


def test_what_is_known_and_due_runs_in_the_order_it_came() -> None:
    batch = [arrival(1), arrival(2, "late"), arrival(3, eta=NOW), arrival(4, expires=NOW + 1)]

    ruling = admit(batch, KNOWN, now=NOW, broker_delays=True, revocations=NONE)

    assert keys(ruling)["run"] == [1, 2, 3, 4]


def test_only_tasks_without_acks_late_are_begun_before_they_run() -> None:
    ruling = admit(
        [arrival(1), arrival(2, "late")], KNOWN, now=NOW, broker_delays=True, revocations=NONE
    )

    assert [delivery.tag for delivery in ruling.begin] == ["tag-1"]


def test_what_was_revoked_does_not_run_however_far_away_it_is() -> None:
    revocations = Revocations(ManualClock(), most=10, seconds=60)
    revocations.add(of_ids(["id-1", "id-2"]))
    batch = [arrival(1), arrival(2, eta=NOW + 1), arrival(3)]

    ruling = admit(batch, KNOWN, now=NOW, broker_delays=True, revocations=revocations)

    assert (keys(ruling)["revoked"], keys(ruling)["run"]) == ([1, 2], [3])
    assert [delivery.tag for delivery in ruling.begin] == ["tag-3"]


def test_what_is_limited_waits_for_its_turn_when_it_is_due() -> None:
    batch = [arrival(1), arrival(2, "late"), arrival(3, "late", eta=NOW + 1)]

    ruling = admit(
        batch,
        KNOWN,
        now=NOW,
        broker_delays=True,
        revocations=NONE,
        is_limited=lambda task: task == "late",
    )

    found = keys(ruling)
    assert (found["run"], found["limited"], found["put_off"]) == ([1], [2], [3])


def test_what_is_not_due_waits_in_the_broker_where_that_can_wait() -> None:
    ruling = admit([arrival(1, eta=NOW + 1)], KNOWN, now=NOW, broker_delays=True, revocations=NONE)

    assert keys(ruling)["put_off"] == [1]
    assert ruling.begin == []


def test_what_is_not_due_waits_here_where_the_broker_cannot_wait() -> None:
    ruling = admit([arrival(1, eta=NOW + 1)], KNOWN, now=NOW, broker_delays=False, revocations=NONE)

    assert keys(ruling)["hold"] == [1]
    assert ruling.begin == []


def test_what_expired_does_not_run_even_if_it_is_not_due_yet() -> None:
    batch = [arrival(1, expires=NOW), arrival(2, expires=NOW - 1, eta=NOW + 1)]

    ruling = admit(batch, KNOWN, now=NOW, broker_delays=True, revocations=NONE)

    assert keys(ruling)["expired"] == [1, 2]


def test_what_nobody_here_knows_is_unknown_even_if_it_expired() -> None:
    ruling = admit(
        [arrival(1, "other", expires=NOW - 1)], KNOWN, now=NOW, broker_delays=True, revocations=NONE
    )

    assert keys(ruling)["unknown"] == [1]


def test_what_a_dead_worker_had_begun_does_not_run_whatever_it_is() -> None:
    batch = [
        arrival(1, begun=True),
        arrival(2, "late", begun=True, eta=NOW + 1),
        arrival(3, "other", begun=True, expires=NOW - 1),
    ]

    ruling = admit(batch, KNOWN, now=NOW, broker_delays=True, revocations=NONE)

    assert keys(ruling)["orphaned"] == [1, 2, 3]
    assert ruling.begin == []


def test_what_was_tried_as_often_as_it_may_does_not_run_again() -> None:
    batch = [arrival(key, "late", attempt=key) for key in (1, 3, 4)]

    bounded, unbounded = (
        admit(
            batch,
            KNOWN,
            now=NOW,
            broker_delays=True,
            revocations=NONE,
            max_deliveries=most,
        )
        for most in (3, None)
    )

    assert (keys(bounded)["run"], keys(bounded)["spent"]) == ([1, 3], [4])
    assert keys(unbounded)["run"] == [1, 3, 4]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["early", "late", "other"]),
            st.none() | st.floats(NOW - 2, NOW + 2),
            st.none() | st.floats(NOW - 2, NOW + 2),
            st.booleans(),
        )
    ),
    st.booleans(),
)
def test_every_message_is_ruled_on_exactly_once(
    batch: list[tuple[str, float | None, float | None, bool]], broker_delays: bool
) -> None:
    arrived = [
        arrival(key, task, eta=eta, expires=expires, begun=begun)
        for key, (task, eta, expires, begun) in enumerate(batch)
    ]

    ruling = admit(arrived, KNOWN, now=NOW, broker_delays=broker_delays, revocations=NONE)

    ruled = [key for some in keys(ruling).values() for key in some]
    assert sorted(ruled) == list(range(len(batch)))
