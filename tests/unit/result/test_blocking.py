"""Where waiting for results is refused, and where it is allowed after all."""

from __future__ import annotations

import os
import threading

import pytest

from umbel.result import allow_join_result, assert_will_not_block, denied_join_result
from umbel.result.blocking import forbid_waiting


def test_outside_of_tasks_waiting_is_fine() -> None:
    assert_will_not_block()


def test_a_block_can_deny_and_allow_it_piecewise() -> None:
    with denied_join_result():
        with pytest.raises(RuntimeError, match="within a task"):
            assert_will_not_block()
        with allow_join_result():
            assert_will_not_block()
        with pytest.raises(RuntimeError):
            assert_will_not_block()
    assert_will_not_block()


def test_a_process_that_only_runs_tasks_refuses_in_every_thread() -> None:
    child = os.fork()
    if child == 0:
        os._exit(_refusals())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert_will_not_block()


def _refusals() -> int:
    forbid_waiting()
    refused = []

    def wait() -> None:
        try:
            assert_will_not_block()
        except RuntimeError as error:
            refused.append(error)
        with allow_join_result():
            assert_will_not_block()

    wait()
    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    return len(refused)
