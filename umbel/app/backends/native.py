"""``app.backend`` where umbel keeps the results itself: the same store, under Celery's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from umbel.app.backends.keyvalue import KeyValueStoreBackend
from umbel.app.unlocking import carry_out
from umbel.exceptions import DecodeError, ImproperlyConfigured
from umbel.model import Message, ResultRecord
from umbel.result.base import result_from_tuple
from umbel.states import PENDING, READY_STATES
from umbel.wire import chords

__all__ = ["NativeBackend"]


class _Subject(msgspec.Struct, frozen=True):
    """The part of a task that its record names."""

    id: str
    group_id: str | None
    parent_id: str | None
    message: Message


class NativeBackend(KeyValueStoreBackend):
    """Asks and tells the app's result backend, whichever of umbel's own it is.

    Keys are names only: ``get``, ``mget``, ``set`` and ``delete`` take those of
    :meth:`get_key_for_task`, on Redis the keys that are really there.
    """

    supports_native_join = True
    supports_autoexpire = True
    supports_failure_expires = True
    supports_result_compression = True
    _client: tuple[str, Any] | None = None
    """A URL, and the client for it."""

    @property
    def is_async(self) -> bool:
        """Whether results come by themselves."""
        return True

    def get(self, key: Any) -> bytes | None:
        """The stored document of a task, or None."""
        return self._load([self._strip_prefix(key)]).get(self._strip_prefix(key))

    def mget(self, keys: Sequence[Any]) -> list[bytes | None]:
        """The stored documents of tasks, or None in their places."""
        ids = [self._strip_prefix(key) for key in keys]
        found = self._load(ids)
        return [found.get(id_) for id_ in ids]

    @property
    def client(self) -> Any:
        """Redis itself, by redis-py, which must be installed, for keys of your own:
        ``app.backend.client.lock("import")``.

        Raises:
            AttributeError: Results are kept elsewhere.
            ImproperlyConfigured: redis-py is not installed.
        """
        url = self.app.backend_url
        if not url.startswith(("redis:", "rediss:")):
            raise AttributeError(f"{self!r} has no client: results are not kept by Redis")
        if self._client is None or self._client[0] != url:
            try:
                # An optional dependency: umbel itself speaks to Redis without it.
                import redis
            except ImportError as error:
                raise ImproperlyConfigured(
                    "app.backend.client is redis-py's client, which is not installed: "
                    "pip install redis"
                ) from error
            kind: Any = redis.Redis
            self._client = (url, kind.from_url(url))
        return self._client[1]

    def set(self, key: Any, value: Any) -> None:
        """Store the document of a task.

        Raises:
            ValueError: It is none.
        """
        body = value.encode() if isinstance(value, str) else bytes(value)
        try:
            state = str(self.decode(body)["status"])
        except (DecodeError, TypeError, KeyError) as error:
            raise ValueError(
                f"app.backend.set({key!r}, …) keeps documents of tasks, and {value!r:.60} is none; "
                "for keys of your own on Redis there is app.backend.client"
            ) from error
        self._keep(ResultRecord(id=self._strip_prefix(key), state=state, body=body))

    def delete(self, key: Any) -> None:
        """Forget a task."""
        self._forget(self._strip_prefix(key))

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **_: Any,
    ) -> Any:
        self._keep(self._record(task_id, result, state, traceback, request))
        return result

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Keep what became of a task; returns what is kept of ``result``."""
        self._store_result(task_id, result, state, traceback, request, **kwargs)
        return self.encode_result(result, state)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        """A member has ended: when it is the last one, the chord's body is sent."""
        if not request.group:
            return
        arrival = chords.arrival(
            request.chord,
            self._record(request.id, result, state, None, request),
            chord_id=request.group,
            index=getattr(request, "group_index", None),
            root_id=getattr(request, "root_id", None),
        )
        self.app.portal.call(self._arrive, arrival)

    async def _arrive(self, arrival: Any) -> None:
        app = self.app
        backend = await app.connections.backend()
        for full in await backend.arrive([arrival]):
            await carry_out(app, app.composer(arrival, full))
            await backend.seal([full.id])

    def _record(
        self, task_id: str, result: Any, state: str, traceback: str | None, request: Any
    ) -> ResultRecord:
        codec, children = self.app.codec, self.current_task_children(request)
        extra: dict[str, Any] | None = None
        subject = _Subject(
            task_id,
            getattr(request, "group", None),
            getattr(request, "parent_id", None),
            Message(id=task_id, body=b"", reply_to=getattr(request, "reply_to", None)),
        )
        if codec.extended and request is not None:
            meta = self._get_result_meta(None, state, None, request)
            extra = {
                name: meta[name]
                for name in ("name", "args", "kwargs", "worker", "retries", "queue")
                if name in meta
            }
        return codec.state(
            subject, state, result, traceback=traceback, children=children or (), extra=extra
        )

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        return self.get_metas([task_id]).get(task_id) or {"status": PENDING, "result": None}

    def get_metas(self, task_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The documents that there are, by id, in one go."""
        codec = self.app.codec
        return {
            id_: _document(codec.read(ResultRecord(id=id_, state=PENDING, body=body)))
            for id_, body in self._load(list(task_ids)).items()
        }

    def _forget(self, task_id: str) -> None:
        async def forget() -> None:
            await (await self.app.connections.backend()).forget([task_id])

        self.app.portal.call(forget)

    def _save_group(self, group_id: str, result: Any) -> Any:
        head, members = result.as_tuple()

        async def save() -> None:
            group = self.app.codec.group(group_id, head[1], members)
            await (await self.app.connections.backend()).store_groups([group])

        self.app.portal.call(save)
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        async def load() -> Any:
            return await (await self.app.connections.backend()).load_groups([group_id])

        found = self.app.portal.call(load).get(group_id)
        if found is None:
            return None
        id_, parent, members = self.app.codec.read_group(found)
        return {"result": result_from_tuple([[id_, parent], members], self.app)}

    def _delete_group(self, group_id: str) -> None:
        async def forget() -> None:
            await (await self.app.connections.backend()).forget_groups([group_id])

        self.app.portal.call(forget)

    def cleanup(self) -> None:
        """Delete what has expired."""
        self.app.tasks["celery.backend_cleanup"]()

    def _keep(self, record: ResultRecord) -> None:
        self.app.tools.store([record])

    def _load(self, ids: Sequence[str]) -> dict[str, bytes]:
        async def load() -> dict[str, bytes]:
            found = await (await self.app.connections.backend()).load(ids)
            return {id_: record.body for id_, record in found.items()}

        return self.app.portal.call(load)


def _document(meta: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: value
        for name, value in msgspec.structs.asdict(meta).items()
        if value is not None or name in {"result", "traceback", "children"}
    }
    fields |= fields.pop("stamps", {})
    if meta.status not in READY_STATES:
        fields["date_done"] = None
    return fields
