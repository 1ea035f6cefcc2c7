"""``Backend``: what a result backend made for Celery derives from."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from umbel.app.backends.encoding import Encoding
from umbel.app.backends.marking import Marking
from umbel.exceptions import BackendGetMetaError, BackendStoreError
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.execution import context
from umbel.states import PENDING, READY_STATES, SUCCESS
from umbel.utils.functional import LRUCache
from umbel.utils.time import get_exponential_backoff_interval

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["Backend", "SyncBackendMixin", "unpickled"]

logger = logging.getLogger(__name__)


class SyncBackendMixin:
    """Waiting for results by asking again and again."""

    get_task_meta: Callable[..., dict[str, Any]]

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> dict[str, Any]:
        """A task's document, once the task has ended.

        Args:
            timeout: Seconds; None: for ever.
            interval: Seconds between two looks.

        Raises:
            TimeoutError: It was not there in time.
        """
        started = time.monotonic()
        while (meta := self.get_task_meta(task_id))["status"] not in READY_STATES:
            if on_interval is not None:
                on_interval()
            left = interval if timeout is None else started + timeout - time.monotonic()
            if left <= 0:
                raise ResultTimeout("The operation timed out.")
            time.sleep(min(interval, left))
        return meta

    def add_pending_result(self, result: Any, weak: bool = False) -> Any:
        """The result: nothing has to be known of it beforehand."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """The result."""
        return result

    @property
    def is_async(self) -> bool:
        """Whether results come by themselves."""
        return False


class Backend(Encoding, Marking, SyncBackendMixin):
    """Keeps results. Subclasses give ``_store_result``, ``_get_task_meta_for`` and ``_forget``,
    and for groups ``_save_group``, ``_restore_group`` and ``_delete_group``.

    Args:
        expires: Seconds that results are kept; as the settings say by default.
        url: Where they are kept.
    """

    TimeoutError = ResultTimeout
    subpolling_interval: float | None = None
    """Seconds between two looks at a result that somebody waits for."""
    supports_native_join = False
    supports_autoexpire = False
    """Whether what has expired goes by itself: :meth:`cleanup` is not needed."""
    supports_failure_expires = False

    def __init__(
        self,
        app: Umbel,
        serializer: str | None = None,
        max_cached_results: int | None = None,
        accept: Any = None,
        expires: Any = None,
        expires_type: Any = None,
        url: str | None = None,
        **_: Any,
    ) -> None:
        self.app = app
        self.url = url
        self._speak(serializer, accept)
        self.expires = self.prepare_expires(expires, expires_type)
        conf = app.conf
        limit = max_cached_results or conf.result_cache_max
        self._cache: Any = {} if limit == -1 else LRUCache(limit=limit)
        self._caches = limit != -1
        self.always_retry: bool = conf.result_backend_always_retry
        self.max_sleep_between_retries_ms: int = conf.result_backend_max_sleep_between_retries_ms
        self.base_sleep_between_retries_ms: int = conf.result_backend_base_sleep_between_retries_ms
        self.max_retries: float = conf.result_backend_max_retries

    def __reduce__(self, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        return unpickled, (type(self), args, dict(kwargs or {}))

    def as_uri(self, include_password: bool = False) -> str | None:
        """Where results are kept."""
        # Only people ask.
        from umbel.app.connecting.urls import safe_url

        return self.url if include_password or self.url is None else safe_url(self.url)

    # -- tasks

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Keep what became of a task; returns what is kept of ``result``.

        Raises:
            BackendStoreError: It could not be kept, however often it was tried.
        """
        kept = self.encode_result(result, state)
        # By position: implementations call them otherwise.
        self._insist(
            lambda: self._store_result(task_id, kept, state, traceback, request=request, **kwargs),
            lambda: BackendStoreError(
                "failed to store result on the backend", task_id=task_id, state=state
            ),
        )
        return kept

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """A task's document: ``status``, ``result`` and more.

        Raises:
            BackendGetMetaError: It could not be read, however often it was tried.
        """
        if cache and task_id in self._cache:
            kept: dict[str, Any] = self._cache[task_id]
            return kept
        meta: dict[str, Any] = self._insist(
            lambda: self._get_task_meta_for(task_id),
            lambda: BackendGetMetaError("failed to get meta", task_id=task_id),
        )
        if cache and self._caches and meta.get("status") == SUCCESS:
            self._cache[task_id] = meta
        return meta

    def forget(self, task_id: str) -> None:
        """Delete what is kept of a task."""
        self._cache.pop(task_id, None)
        self._insist(lambda: self._forget(task_id))

    def get_state(self, task_id: str) -> str:
        """A task's state."""
        return str(self.get_task_meta(task_id)["status"])

    get_status = get_state

    def get_traceback(self, task_id: str) -> str | None:
        """Where a task has failed."""
        return self.get_task_meta(task_id).get("traceback")

    def get_result(self, task_id: str) -> Any:
        """What a task has returned, or raised."""
        return self.get_task_meta(task_id).get("result")

    def get_children(self, task_id: str) -> Any:
        """What a task has sent."""
        return self.get_task_meta(task_id).get("children")

    def reload_task_result(self, task_id: str) -> None:
        """Read it again."""
        self._cache[task_id] = self.get_task_meta(task_id, cache=False)

    def task_result_exists(self, task_id: str) -> bool:
        """Whether anything is known of a task."""
        return bool(self._get_task_meta_for(task_id)["status"] != PENDING)

    def is_cached(self, task_id: str) -> bool:
        """Whether it has been read before."""
        return task_id in self._cache

    # -- groups

    def save_group(self, group_id: str, result: Any) -> Any:
        """Keep the result of a group."""
        return self._insist(lambda: self._save_group(group_id, result))

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        """The result of a group; None: it was not kept."""
        meta = self.get_group_meta(group_id, cache=cache)
        return meta["result"] if meta else None

    def get_group_meta(self, group_id: str, cache: bool = True) -> Any:
        """A group's document; None: it was not kept."""
        if cache and group_id in self._cache:
            return self._cache[group_id]
        meta = self._insist(lambda: self._restore_group(group_id))
        if cache and self._caches and meta is not None:
            self._cache[group_id] = meta
        return meta

    def reload_group_result(self, group_id: str) -> None:
        """Read it again."""
        self._cache[group_id] = self.get_group_meta(group_id, cache=False)

    def delete_group(self, group_id: str) -> None:
        """Forget a group, not what became of its members."""
        self._cache.pop(group_id, None)
        self._insist(lambda: self._delete_group(group_id))

    # -- to be overridden

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not implement _store_result")

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        raise NotImplementedError(f"{type(self).__name__} does not implement _get_task_meta_for")

    def _forget(self, task_id: str) -> None:
        raise NotImplementedError("backend does not implement forget.")

    def _save_group(self, group_id: str, result: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not implement _save_group")

    def _restore_group(self, group_id: str) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not implement _restore_group")

    def _delete_group(self, group_id: str) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not implement _delete_group")

    def cleanup(self) -> None:
        """Delete what has expired."""

    def process_cleanup(self) -> None:
        """Called after tasks."""

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Whether what failed so may be tried again."""
        return False

    def on_backend_retryable_error(self, exc: BaseException) -> None:
        """Called before it is tried again."""

    def on_task_call(self, producer: Any, task_id: str) -> dict[str, Any]:
        """More options for a task that is sent."""
        return {}

    # -- for subclasses

    def current_task_children(self, request: Any = None) -> list[Any] | None:
        """The result tuples of what a task has sent: that of ``request``, else the running one."""
        if request is None:
            task: Any = context.current_task()
            request = None if task is None else context.of(task)
        if request is None:
            return None
        return [each.as_tuple() for each in getattr(request, "children", None) or ()]

    def _get_result_meta(
        self,
        result: Any,
        state: str,
        traceback: str | None,
        request: Any,
        format_date: bool = True,
        encode: bool = False,
    ) -> dict[str, Any]:
        """The document of a task, as Celery has it."""
        # When the task ended, where that is known: it is stored later.
        done: Any = getattr(request, "date_done", None)
        if done is None and state in self.READY_STATES:
            done = self.app.now()
        meta: dict[str, Any] = {
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": self.current_task_children(request),
            "date_done": _shown(done) if format_date else done,
        }
        if request is None:
            return meta
        named = {"group_id": "group", "parent_id": "parent_id"}
        meta |= {
            field: getattr(request, name)
            for field, name in named.items()
            if getattr(request, name, None)
        }
        if self.app.conf.find_value_for_key("extended", "result"):
            given = {"args": getattr(request, "args", None), "kwargs": _kwargs_of(request)}
            if encode:
                given = {name: self.encode(value) for name, value in given.items()}
            delivery: Mapping[str, Any] = getattr(request, "delivery_info", None) or {}
            meta |= {
                "name": getattr(request, "task", None),
                **given,
                "worker": getattr(request, "hostname", None),
                "retries": getattr(request, "retries", None),
                "queue": delivery.get("routing_key"),
                **(getattr(request, "stamps", None) or {}),
            }
            if getattr(request, "stamped_headers", None):
                meta["stamped_headers"] = request.stamped_headers
        return meta

    def _insist(
        self, work: Callable[[], Any], given_up: Callable[[], Exception] | None = None
    ) -> Any:
        """Try again what may be tried again, if the settings say so."""
        attempt = 0
        while True:
            try:
                return work()
            except Exception as error:
                if not (self.always_retry and self.exception_safe_to_retry(error)):
                    raise
                if attempt >= self.max_retries:
                    if given_up is None:
                        raise
                    raise given_up() from error
                attempt += 1
                logger.warning("%s failed, attempt %d: %r", type(self).__name__, attempt, error)
                self.on_backend_retryable_error(error)
                pause = get_exponential_backoff_interval(
                    self.base_sleep_between_retries_ms,
                    attempt,
                    self.max_sleep_between_retries_ms,
                    full_jitter=True,
                )
                self._sleep(pause / 1000)

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def _shown(moment: Any) -> Any:
    return moment.isoformat() if isinstance(moment, datetime) else moment


def _kwargs_of(request: Any) -> Any:
    return getattr(request, "kwargs", None)


def unpickled(kind: type[Backend], args: Any, kwargs: Mapping[str, Any]) -> Backend:
    """A backend of the current app, as it was elsewhere."""
    # The current app is known only where the program runs.
    from umbel.app.current import get_current_app

    return kind(get_current_app(), *args, **kwargs)
