"""The ``celery-task-meta`` document: what result backends keep of a task.

Source:
    Celery user guide, Tasks, "Result Backends"; document observed with Celery 5.7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from umbel.clock import SystemClock
from umbel.exceptions import DecodeError, EncodeError
from umbel.model import GroupRecord, Message, ResultRecord
from umbel.protocols.clock import Clock
from umbel.serialization import json, registry
from umbel.serialization.compression import DEFAULT_LIMIT, compress
from umbel.serialization.shapes import is_dict, is_list
from umbel.states import EXCEPTION_STATES, FAILURE, READY_STATES, SUCCESS
from umbel.wire import errors, moments
from umbel.wire.documents import (
    decode_group,
    encode_group,
    peek_state,
    read_document,
    sealed,
)

__all__ = [
    "Finished",
    "ResultCodec",
    "ResultMeta",
    "decode_group",
    "encode_group",
    "peek_state",
]

_quote: Callable[[str], bytes] = msgspec.json.Encoder().encode
_SUCCEEDED = (
    b'{"status":"SUCCESS","result":%b,"traceback":null,"children":%b,'
    b'"date_done":"%b","task_id":%b%b%b}'
)
_SYSTEM = SystemClock()


class Finished(Protocol):
    """The part of a request that its result names."""

    @property
    def id(self) -> str:
        """The task's."""
        ...

    @property
    def group_id(self) -> str | None:
        """The group it is a member of."""
        ...

    @property
    def parent_id(self) -> str | None:
        """The task that sent it."""
        ...

    @property
    def message(self) -> Message:
        """What asked for it: says where results that are messages go to."""
        ...


class ResultMeta(msgspec.Struct, frozen=True, kw_only=True):
    """A stored result, read."""

    task_id: str
    status: str
    result: Any = None
    """The value; the exception, in states of failure."""
    traceback: str | None = None
    children: list[Any] | None = None
    """Result tuples: ``[[id, parent], members]``."""
    date_done: datetime | None = None
    """Aware."""
    group_id: str | None = None
    parent_id: str | None = None
    name: str | None = None
    args: Any = None
    kwargs: Any = None
    worker: str | None = None
    retries: int | None = None
    queue: str | None = None
    stamps: dict[str, Any] = {}
    """Stamp by name, for the names in the document's ``stamped_headers``."""

    def as_document(self) -> dict[str, Any]:
        """As Celery's backends hand it out: stamps lie between the other fields, which win."""
        fields = msgspec.structs.asdict(self)
        stamps = fields.pop("stamps")
        named = {"stamped_headers": list(stamps)} if stamps else {}
        return {**stamps, **fields, **named}


class ResultCodec:
    """Writes results as Celery's backends do, and reads what they wrote.

    Args:
        serializer: As ``result_serializer``.
        accept: Content types that may be read; None: the serializer's own.
        expires: Seconds that results are kept; None or 0: for ever.
        failure_expires: The same for failures; None: as ``expires``.
        extended: Whether ``extra`` is written, as ``result_extended``.
        compression: As ``result_compression``.
        limit: Bytes that a compressed result may unpack to.
        addressed: Whether records say whom they are for: the backend sends them.
        whole: Whether they say all that is known of the call, its headers too: the backend,
            which decides what it keeps, is told of it.
    """

    def __init__(
        self,
        serializer: str = "json",
        *,
        accept: frozenset[str] | None = None,
        expires: float | None = 86400.0,
        failure_expires: float | None = None,
        extended: bool = False,
        compression: str | None = None,
        limit: int = DEFAULT_LIMIT,
        clock: Clock = _SYSTEM,
        addressed: bool = False,
        whole: bool = False,
    ) -> None:
        self._addressed = addressed
        self._serializer = registry.serializer(serializer)
        self._plain = self._serializer.name == "json" and compression is None
        self.keeps_objects = self._serializer.name == "pickle"
        """Whether any object can be a result; others have a form that texts can have."""
        self._accept = accept or frozenset({self._serializer.content_type})
        self._reads_json = (
            self._serializer.name == "json" and self._serializer.content_type in self._accept
        )
        self._expires = expires or None
        self._failure_expires = failure_expires or self._expires
        self._extended = extended or whole
        self.whole = whole
        self._compression = compression
        self._limit = limit
        self._clock = clock
        self._time = clock.time

    @property
    def accept(self) -> frozenset[str]:
        """Content types that may be read."""
        return self._accept

    @property
    def expires(self) -> float | None:
        """Seconds that results are kept; None: for ever."""
        return self._expires

    @property
    def extended(self) -> bool:
        """Whether ``extra`` is written."""
        return self._extended

    def succeeded(
        self,
        request: Finished,
        value: object,
        *,
        children: Sequence[object] = (),
        extra: Mapping[str, object] | None = None,
    ) -> ResultRecord:
        """The record of a value.

        Args:
            children: Result tuples of the tasks it sent.
            extra: ``name``, ``args``, ``kwargs``, ``worker``, ``retries``, ``queue`` and
                ``stamps``; written only if the codec is ``extended``.

        Raises:
            EncodeError: Says what in the value cannot be written.
        """
        now = self._time()
        expires = self._expires
        if not self._plain or (extra and self._extended):
            document = self._document(request, SUCCESS, value, None, children, extra, now)
            body = self._sealed(document, value)
        else:
            group, parent = request.group_id, request.parent_id
            body = _SUCCEEDED % (
                json.dumps(value),
                json.dumps(children) if children else b"[]",
                moments.stamp_bytes(now),
                _quote(request.id),
                b"" if group is None else b',"group_id":%b' % _quote(group),
                b"" if parent is None else b',"parent_id":%b' % _quote(parent),
            )
        record = ResultRecord(
            id=request.id,
            state=SUCCESS,
            body=body,
            expires_at=None if expires is None else now + expires,
        )
        return _addressed(record, request) if self._addressed else record

    def failed(
        self,
        request: Finished,
        exc: BaseException,
        traceback: str | None,
        *,
        children: Sequence[object] = (),
        extra: Mapping[str, object] | None = None,
    ) -> ResultRecord:
        """The record of a failure. What cannot be written of it is written as its ``repr``."""
        return self.state(
            request, FAILURE, exc, traceback=traceback, children=children, extra=extra
        )

    def state(
        self,
        request: Finished,
        state: str,
        result: object,
        *,
        traceback: str | None = None,
        children: Sequence[object] = (),
        extra: Mapping[str, object] | None = None,
    ) -> ResultRecord:
        """The record of any state: STARTED, RETRY, REVOKED, or one of the user's own.

        Raises:
            EncodeError: Says what in the result cannot be written; never for exceptions.
        """
        now = self._time()
        if isinstance(result, BaseException):
            result = self._exception(result)
        document = self._document(request, state, result, traceback, children, extra, now)
        expires = self._failure_expires if state == FAILURE else self._expires
        record = ResultRecord(
            id=request.id,
            state=state,
            body=self._sealed(document, result),
            expires_at=None if expires is None else now + expires,
        )
        return _addressed(record, request) if self._addressed else record

    def read(self, record: ResultRecord) -> ResultMeta:
        """What a record says.

        Raises:
            ContentDisallowed: It is in a form that is not accepted.
            TooLarge: It unpacks to more than the limit.
            DecodeError: It is no result.
            SecurityError: The exception in it names something that is no exception.
        """
        body = record.body
        if self._reads_json and body.startswith(b'{"status"') and not _is_special(body):
            try:
                meta = _read_plain(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                # The other path reads what msgspec refuses, or says what is wrong with it.
                pass
            else:
                dated = meta.date_done is None or meta.date_done.tzinfo is not None
                if dated and meta.status not in EXCEPTION_STATES:
                    return meta
        document = read_document(body, self._serializer, accept=self._accept, limit=self._limit)
        return _meta(document, record.id)

    def group(self, id: str, parent: object, members: Sequence[object]) -> GroupRecord:
        """The record of a group.

        Args:
            parent: The result tuple of what came before, or None.
            members: The members' result tuples, in order.

        Raises:
            EncodeError: A tuple cannot be written.
        """
        body = encode_group(id, parent, members, serializer=self._serializer.name)
        if self._compression is not None:
            body = sealed(*compress(body, self._compression))
        expires = self._expires
        return GroupRecord(
            id=id, body=body, expires_at=None if expires is None else self._time() + expires
        )

    def read_group(self, record: GroupRecord) -> tuple[str, Any, list[Any]]:
        """What a group's record says: its id, its parent's result tuple, its members' ones.

        Raises:
            ContentDisallowed: It is in a form that is not accepted.
            TooLarge: It unpacks to more than the limit.
            DecodeError: It is no group.
        """
        return decode_group(
            record.body,
            serializer=self._serializer.name,
            accept=self._accept,
            limit=self._limit,
        )

    def _document(
        self,
        request: Finished,
        state: str,
        result: object,
        traceback: str | None,
        children: Sequence[object],
        extra: Mapping[str, object] | None,
        now: float,
    ) -> dict[str, object]:
        document: dict[str, object] = {
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": list(children),
            "date_done": moments.stamp(now) if state in READY_STATES else None,
            "task_id": request.id,
        }
        if request.group_id is not None:
            document["group_id"] = request.group_id
        if request.parent_id is not None:
            document["parent_id"] = request.parent_id
        if extra and self._extended:
            document.update(_extended(extra))
        return document

    def _sealed(self, document: Mapping[str, object], result: object) -> bytes:
        dumps = self._serializer.dumps
        try:
            body = dumps(document)
        except EncodeError:
            # Alone, so that the error says where in the result it is, not in our document.
            dumps(result)
            body = dumps({name: errors.writable(value, dumps) for name, value in document.items()})
        if self._compression is None:
            return body
        return sealed(*compress(body, self._compression))

    def _exception(self, exc: BaseException) -> object:
        """An exception as the serializer can keep it: pickle whole, if it comes back."""
        if self._serializer.name == "pickle" and type(exc).__module__ != errors.OURS:
            try:
                self._serializer.loads(self._serializer.dumps(exc))
            except (EncodeError, DecodeError):
                return errors.encode(exc, dumps=self._serializer.dumps)
            return exc
        return errors.encode(exc, dumps=self._serializer.dumps)


def _addressed(record: ResultRecord, request: Finished) -> ResultRecord:
    message = request.message
    return msgspec.structs.replace(
        record, reply_to=message.reply_to, correlation_id=message.correlation_id or request.id
    )


def _extended(extra: Mapping[str, object]) -> dict[str, object]:
    fields = {name: value for name, value in extra.items() if name != "stamps"}
    stamps = extra.get("stamps")
    if is_dict(stamps) and stamps:
        named = {str(name): stamp for name, stamp in stamps.items()}
        fields["stamped_headers"] = list(named)
        # A stamp may have any name; our own fields win.
        fields = {**{k: v for k, v in named.items() if k not in _FIELDS}, **fields}
    return fields


_FIELDS = frozenset(ResultMeta.__struct_fields__)


_read_plain = msgspec.json.Decoder(ResultMeta).decode


def _is_special(body: bytes) -> bool:
    """Whether there may be more in a document than its fields say."""
    return b'"__type__"' in body or b'"stamped_headers"' in body


def _meta(document: dict[str, Any], task_id: str) -> ResultMeta:
    status = document.get("status")
    if not isinstance(status, str):
        raise DecodeError(f"result of {task_id!r:.80}: it has no status.")
    result = document.get("result")
    if status in EXCEPTION_STATES and result is not None:
        result = errors.decode(result)
    stamped = document.get("stamped_headers")
    return ResultMeta(
        task_id=_text(document, "task_id") or task_id,
        status=status,
        result=result,
        traceback=_text(document, "traceback"),
        children=_list(document, "children"),
        date_done=_date(document.get("date_done")),
        group_id=_text(document, "group_id"),
        parent_id=_text(document, "parent_id"),
        name=_text(document, "name"),
        args=document.get("args"),
        kwargs=document.get("kwargs"),
        worker=_text(document, "worker"),
        retries=_whole(document.get("retries")),
        queue=_text(document, "queue"),
        stamps=_stamps(document, stamped),
    )


def _text(document: dict[str, Any], field: str) -> str | None:
    value = document.get(field)
    if value is None or isinstance(value, str):
        return value
    raise DecodeError(f"result: {field} is of type {type(value).__name__}, not a string.")


def _list(document: dict[str, Any], field: str) -> list[Any] | None:
    value = document.get(field)
    if value is None:
        return None
    if is_list(value):
        return list(value)
    raise DecodeError(f"result: {field} is of type {type(value).__name__}, not a list.")


def _whole(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise DecodeError(f"result: retries is of type {type(value).__name__}, not an integer.")


def _date(value: object) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise DecodeError(f"result: date_done is not ISO 8601: {value!r:.80}.") from error
    if not isinstance(value, datetime):
        raise DecodeError(f"result: date_done is of type {type(value).__name__}, not a date.")
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _stamps(document: dict[str, Any], names: object) -> dict[str, Any]:
    if not is_list(names):
        return {}
    return {name: document[name] for name in names if isinstance(name, str) and name in document}
