"""Who judges the repeats of the fault suite: what explains one, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from .accounts import Accounts, Run
from .ledger import Ledger

WORKER, CHILD = 10, 11


def run(start: float, end: float | None, number: int = 1, **others: bool) -> Run:
    """In the worker that is struck."""
    return Run(number, WORKER, CHILD, start, end, **others)


def again(start: float, number: int = 1) -> Run:
    """In another one."""
    return Run(number, 20, 21, start, start + 1)


def said(accounts: Accounts, *runs: Run) -> str:
    repeats = accounts.repeats(runs)
    return str(repeats) or f"{len(repeats.unexplained)} unexplained"


@pytest.fixture
def accounts() -> Accounts:
    """A worker that died at 100."""
    accounts = Accounts()
    accounts.died(group=WORKER, begin=100.0, end=100.1)
    return accounts


def test_one_run_needs_no_reason(accounts: Accounts) -> None:
    assert accounts.repeats([run(99, None), again(120, number=2)]).total == 0


def test_what_ran_as_its_worker_died_may_run_again_once(accounts: Accounts) -> None:
    assert said(accounts, run(99, None), again(120)) == "1 cut short"
    repeats = accounts.repeats([run(99, None), again(120), again(130)])
    assert (repeats.cut_short, len(repeats.unexplained)) == (1, 1)
    assert repeats.unexplained[0].startswith("1 started in 21 of 20 at 120.000")


def test_what_a_frozen_worker_ended_later_was_cut_short(accounts: Accounts) -> None:
    assert said(accounts, run(99, 140), again(120)) == "1 cut short"


def test_what_had_just_ended_may_run_again_if_only_one_came_after_it(accounts: Accounts) -> None:
    assert said(accounts, run(99, 99.9), again(120)) == "1 unsettled"
    others = [run(99.95, None, number=2), run(99.96, None, number=3)]
    assert said(accounts, run(99, 99.9), others[0], again(120)) == "1 unsettled"
    assert said(accounts, run(99, 99.9), *others, again(120)) == "1 unexplained"


def test_while_tasks_are_short_more_may_have_come_after_it(accounts: Accounts) -> None:
    one = run(99.9, 99.91)
    others = [run(99.95, None, number=2), run(99.96, None, number=3)]
    short = [run(99 + n / 100, 99.0001 + n / 100, number=10 + n) for n in range(20)]
    long = [run(99.8 + n / 100, 99.805 + n / 100, number=40 + n) for n in range(9)]

    assert said(accounts, *short, one, *others, again(120)) == "1 unsettled"
    assert said(accounts, *short[:5], one, *others, again(120)) == "1 unexplained"
    assert said(accounts, *short, *long, one, *others, again(120)) == "1 unexplained"


def test_what_had_ended_long_before_may_not(accounts: Accounts) -> None:
    assert said(accounts, run(90, 98.5), again(120)) == "1 unexplained"


def test_what_waits_for_its_result_to_be_stored_is_not_acknowledged() -> None:
    accounts = Accounts()
    accounts.died(group=WORKER, begin=100.0, end=100.0, keeps_since=90.0)
    assert said(accounts, run(89, 90.5), again(120)) == "1 unsettled"
    assert said(accounts, run(88, 89.5), again(120)) == "1 unexplained"


def test_what_started_again_before_anything_happened_may_not(accounts: Accounts) -> None:
    assert said(accounts, run(99, None), again(99.5)) == "1 unexplained"


def test_what_ran_elsewhere_or_later_may_not(accounts: Accounts) -> None:
    assert said(accounts, again(99), run(101, 102)) == "1 unexplained"
    assert said(accounts, run(101, None), again(120)) == "1 unexplained"


def test_the_death_of_a_process_explains_its_own_runs_only() -> None:
    accounts = Accounts()
    accounts.died(pid=CHILD, begin=100.0, end=100.0)
    beside = Run(2, WORKER, 12, 99, None)
    repeats = accounts.repeats([run(99, None), again(120), beside, again(120, number=2)])
    assert (repeats.cut_short, len(repeats.unexplained)) == (1, 1)


def test_nothing_explains_a_task_that_was_acknowledged_first(accounts: Accounts) -> None:
    accounts.cut_off(0.0, 200.0)
    assert said(accounts, run(99, None, once=True), again(120)) == "1 unexplained"


def test_an_outage_explains_what_ran_or_was_acknowledged_meanwhile() -> None:
    accounts = Accounts()
    accounts.cut_off(100.0, 110.0)
    assert said(accounts, run(90, 99.5), again(120)) == "1 cut off"
    assert said(accounts, run(105, 106), again(120)) == "1 cut off"
    assert said(accounts, run(90, 98.5), again(120)) == "1 unexplained"
    assert said(accounts, run(111, 112), again(120)) == "1 unexplained"


def test_a_server_may_have_forgotten_what_it_had_not_written() -> None:
    accounts = Accounts()
    accounts.cut_off(100.0, 110.0, forgets=5.0)
    assert said(accounts, run(90, 94.5), again(120)) == "1 cut off"
    assert said(accounts, run(90, 93.5), again(120)) == "1 unexplained"


def test_each_message_that_was_sent_again_may_run_once() -> None:
    accounts = Accounts()
    accounts.sent_again[1] = 1
    assert said(accounts, again(1), again(2)) == "1 sent again"
    assert len(accounts.repeats([again(1), again(2), again(3)]).unexplained) == 1


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with ledger.path.open("a") as file:
        file.write("start 1 10 11 12 1.5\nstart 2 10")
        file.flush()
        assert ledger.total("start") == 1

        file.write(" 11 13 1.75\n")
        file.flush()
        assert ledger.total("start") == 2
        assert ledger.seen(10) == 1.75
