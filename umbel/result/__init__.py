"""Waiting for results and reading them (``celery.result``)."""

from umbel.result.blocking import allow_join_result, assert_will_not_block, denied_join_result
from umbel.result.single import AsyncResult, EagerResult, ResultBase, result_from_tuple

__all__ = [
    "AsyncResult",
    "EagerResult",
    "ResultBase",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
]
