"""Waiting for results and reading them (``celery.result``)."""

from umbel.result.base import ResultBase, result_from_tuple
from umbel.result.blocking import allow_join_result, assert_will_not_block, denied_join_result
from umbel.result.eager import EagerResult
from umbel.result.groups import GroupResult, Groups
from umbel.result.sets import ResultSet
from umbel.result.single import AsyncResult

__all__ = [
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "Groups",
    "ResultBase",
    "ResultSet",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
]
