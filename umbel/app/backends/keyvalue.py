"""``KeyValueStoreBackend``: what backends derive from that keep values by keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import monotonic, sleep
from typing import Any

from umbel.app.backends.base import Backend
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.result.base import result_from_tuple
from umbel.states import PENDING, READY_STATES, SUCCESS

__all__ = ["KeyValueStoreBackend"]


class KeyValueStoreBackend(Backend):
    """Keeps each task under a key. Subclasses give ``get``, ``mget``, ``set`` and ``delete``.

    Source:
        Celery reference, ``celery.backends.base.KeyValueStoreBackend``: keys, names, what is
        stored.
    """

    task_keyprefix: Any = "celery-task-meta-"
    group_keyprefix: Any = "celery-taskset-meta-"
    chord_keyprefix: Any = "chord-unlock-"
    implements_incr = False
    """Whether there is ``incr``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        options: Mapping[str, Any] = self.app.conf.result_backend_transport_options or {}
        given = str(options.get("global_keyprefix", ""))
        before = f"{given}_" if given and given[-1] not in ":_-." else given
        for name in ("task_keyprefix", "group_keyprefix", "chord_keyprefix"):
            prefix = getattr(self, name)
            prefix = prefix if isinstance(prefix, bytes) else str(prefix).encode()
            setattr(self, name, self.key_t(before.encode() + prefix))

    def key_t(self, key: Any) -> Any:
        """A key in the form that the store takes: bytes, unless overridden."""
        return key if isinstance(key, bytes) else str(key).encode()

    # -- to be overridden

    def get(self, key: Any) -> Any:
        """The value, or None."""
        raise NotImplementedError("Must implement the get method.")

    def mget(self, keys: Sequence[Any]) -> Any:
        """The values, or None in their places; or those that there are, by key."""
        return [self.get(key) for key in keys]

    def set(self, key: Any, value: Any) -> Any:
        """Keep a value."""
        raise NotImplementedError("Must implement the set method.")

    def delete(self, key: Any) -> Any:
        """Forget a value."""
        raise NotImplementedError("Must implement the delete method")

    def incr(self, key: Any) -> Any:
        """Count."""
        raise NotImplementedError("Does not implement incr")

    def expire(self, key: Any, value: Any) -> Any:
        """Forget it after so many seconds."""
        raise NotImplementedError("Does not implement expire")

    def _set_with_state(self, key: Any, value: Any, state: str) -> Any:
        return self.set(key, value)

    # -- keys

    def get_key_for_task(self, task_id: Any, key: Any = "") -> Any:
        """The key of a task's document."""
        return self._key(self.task_keyprefix, task_id, key)

    def get_key_for_group(self, group_id: Any, key: Any = "") -> Any:
        """The key of a group's document."""
        return self._key(self.group_keyprefix, group_id, key)

    def get_key_for_chord(self, group_id: Any, key: Any = "") -> Any:
        """The key of a chord's count."""
        return self._key(self.chord_keyprefix, group_id, key)

    def _key(self, prefix: Any, id_: Any, key: Any) -> Any:
        if not id_:
            raise ValueError(f"a key needs an id, not {id_!r}")
        return self.key_t(b"").join([self.key_t(prefix), self.key_t(id_), self.key_t(key)])

    def _strip_prefix(self, key: Any) -> str:
        text = key.decode() if isinstance(key, bytes) else str(key)
        for prefix in (self.task_keyprefix, self.group_keyprefix):
            named = prefix.decode() if isinstance(prefix, bytes) else str(prefix)
            if text.startswith(named):
                return text.removeprefix(named)
        return text

    # -- tasks

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **_: Any,
    ) -> Any:
        meta = self._get_result_meta(result, state, traceback, request)
        meta["task_id"] = task_id
        current = self._get_task_meta_for(task_id)
        # What has been done is never undone.
        if current["status"] != SUCCESS:
            self._set_with_state(self.get_key_for_task(task_id), self.encode(meta), state)
        return result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        payload = self.get(self.get_key_for_task(task_id))
        if not payload:
            return {"status": PENDING, "result": None}
        return self.decode_result(payload)

    def _forget(self, task_id: str) -> None:
        self.delete(self.get_key_for_task(task_id))

    def get_metas(self, task_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The documents that there are, by id, in one go."""
        keys = [self.get_key_for_task(task_id) for task_id in task_ids]
        found = self.mget(keys)
        if hasattr(found, "items"):
            by_id = {self._strip_prefix(key): value for key, value in found.items()}
        else:
            by_id = dict(zip(task_ids, found, strict=True))
        return {id_: self.decode_result(value) for id_, value in by_id.items() if value}

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Any = None,
        max_iterations: int | None = None,
        READY_STATES: frozenset[str] = READY_STATES,  # noqa: N803 - documented parameter
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Ids and documents of tasks, as they end.

        Raises:
            TimeoutError: Not all of them have, within ``timeout`` seconds.
        """
        waiting = set(task_ids)
        started, looks = monotonic(), 0
        while waiting:
            for task_id, meta in self.get_metas(sorted(waiting)).items():
                if meta["status"] in READY_STATES:
                    waiting.discard(task_id)
                    if on_message is not None:
                        on_message(meta)
                    yield task_id, meta
            looks += 1
            if not waiting or (max_iterations and looks >= max_iterations):
                return
            if timeout is not None and monotonic() - started >= timeout:
                raise ResultTimeout(f"Operation timed out ({timeout})")
            if on_interval is not None:
                on_interval()
            sleep(interval)

    # -- groups

    def _save_group(self, group_id: str, result: Any) -> Any:
        value = self.encode({"result": result.as_tuple()})
        self._set_with_state(self.get_key_for_group(group_id), value, SUCCESS)
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        payload = self.get(self.get_key_for_group(group_id))
        if not payload:
            return None
        meta: dict[str, Any] = self.decode(payload)
        return {**meta, "result": result_from_tuple(meta["result"], self.app)}

    def _delete_group(self, group_id: str) -> None:
        self.delete(self.get_key_for_group(group_id))
