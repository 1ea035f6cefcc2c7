"""Signals: who listens is called, and nobody else."""

from __future__ import annotations

import gc
from typing import Any

import celery.signals
import pytest

from umbel import signals
from umbel.signals import Signal


def test_a_receiver_gets_the_signal_its_sender_and_the_arguments() -> None:
    signal = Signal(("x",), name="it")

    @signal.connect
    def receive(**named: Any) -> Any:
        return named

    assert signal.send("me", x=1) == [(receive, {"signal": signal, "sender": "me", "x": 1})]


def test_a_receiver_that_raises_is_logged_and_does_not_stop_the_others(caplog: Any) -> None:
    signal = Signal()
    error = ValueError("no")

    @signal.connect
    def first(**_: Any) -> None:
        raise error

    @signal.connect
    def second(**_: Any) -> int:
        return 2

    assert signal.send_robust(None) == [(first, error), (second, 2)]
    assert "raised: ValueError('no')" in caplog.text


def test_a_sender_is_matched_by_identity_and_a_name_by_value() -> None:
    signal = Signal()
    mine, other = [1], [1]
    heard: list[Any] = []

    @signal.connect(sender=mine)
    def receive(sender: Any, **_: Any) -> None:
        heard.append(sender)

    @signal.connect(sender="tasks" + ".add")
    def receive_by_name(sender: Any, **_: Any) -> None:
        heard.append(sender)

    for sender in (mine, other, "tasks.add", "tasks.sub", None):
        signal.send(sender)

    assert heard == [mine, "tasks.add"]
    assert heard[0] is mine
    assert signal.has_listeners(mine)
    assert not signal.has_listeners(other)


def test_connecting_twice_is_connecting_once() -> None:
    signal = Signal()

    def receive(**_: Any) -> int:
        return 1

    signal.connect(receive)
    signal.connect(receive)
    signal.connect(lambda **_: 2, weak=False, dispatch_uid="other")
    signal.connect(lambda **_: 3, weak=False, dispatch_uid="other")

    assert [answer for _, answer in signal.send(None)] == [1, 2]


def test_a_weakly_connected_receiver_is_forgotten_with_its_owner() -> None:
    signal = Signal()

    class Owner:
        def receive(self, **_: Any) -> None: ...

    owner = Owner()
    signal.connect(owner.receive)
    assert signal.receivers

    del owner
    gc.collect()

    assert not signal.receivers


def test_a_strongly_connected_receiver_stays() -> None:
    signal = Signal()

    signal.connect(lambda **_: 1, weak=False)
    gc.collect()

    assert [answer for _, answer in signal.send(None)] == [1]


def test_disconnecting_says_whether_there_was_a_connection() -> None:
    signal = Signal()

    class Owner:
        def receive(self, **_: Any) -> None: ...

    owner = Owner()
    signal.connect(owner.receive, sender="a")
    signal.connect(owner.receive, dispatch_uid=1)

    assert not signal.disconnect(owner.receive, sender="b")
    assert signal.disconnect(owner.receive, sender="a")
    assert signal.disconnect(dispatch_uid=1)
    assert not signal.receivers


def test_a_receiver_must_take_what_signals_may_grow() -> None:
    signal = Signal()

    with pytest.raises(ValueError, match=r"must accept \*\*kwargs"):
        signal.connect(lambda sender: None)
    with pytest.raises(TypeError, match="not callable"):
        signal.connect(3)  # type: ignore[call-overload]


def test_a_patient_connection_calls_until_the_receiver_succeeds(monkeypatch: Any) -> None:
    signal = Signal()
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    tries = iter([ValueError(1), ValueError(2), None])

    @signal.connect(retry=True)
    def receive(**_: Any) -> str:
        if error := next(tries):
            raise error
        return "done"

    assert [answer for _, answer in signal.send(None)] == ["done"]
    assert waits == [0.5, 1.0]


def test_a_patient_connection_gives_up(monkeypatch: Any) -> None:
    signal = Signal()
    monkeypatch.setattr("time.sleep", lambda _: None)
    tries: list[int] = []

    @signal.connect(retry=True)
    def receive(**_: Any) -> None:
        tries.append(1)
        raise ValueError

    [(_, answer)] = signal.send(None)

    assert type(answer) is ValueError
    assert len(tries) == 8


def test_every_signal_of_celery_is_here_with_its_arguments() -> None:
    kind = type(celery.signals.task_prerun)
    theirs = {name: it for name, it in vars(celery.signals).items() if isinstance(it, kind)}

    for name, signal in theirs.items():
        ours = getattr(signals, name)
        assert ours.name == name
        assert ours.providing_args >= set(signal.providing_args or ())
    assert len(theirs) == 34
