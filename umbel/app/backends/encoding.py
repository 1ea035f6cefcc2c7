"""How a backend of Celery's kind writes values and exceptions, and reads them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from umbel.exceptions import DecodeError
from umbel.result.base import ResultBase
from umbel.serialization import registry
from umbel.serialization.compression import DEFAULT_LIMIT, compress
from umbel.states import EXCEPTION_STATES, READY_STATES, UNREADY_STATES
from umbel.wire import documents, errors

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["Encoding"]


class Encoding:
    """Values and exceptions as payloads, in the serializer of the results.

    Source:
        Celery reference, ``celery.backends.base.Backend``: names, arguments, what each gives.
    """

    READY_STATES = READY_STATES
    UNREADY_STATES = UNREADY_STATES
    EXCEPTION_STATES = EXCEPTION_STATES

    persistent = True
    supports_result_compression = False
    """Whether payloads may be any bytes: others are not compressed."""

    app: Umbel
    serializer: str
    content_type: str
    content_encoding: str
    accept: frozenset[str]
    compression: str | None

    def _speak(self, serializer: str | None, accept: Any) -> None:
        """Use a serializer, by default that of the results, and read no other content."""
        conf = self.app.conf
        self.serializer = serializer or conf.result_serializer
        found = registry.serializer(self.serializer)
        self.content_type, self.content_encoding = found.content_type, found.content_encoding
        read = accept or conf.result_accept_content or conf.accept_content or ()
        self.accept = registry.content_types(read)
        self.compression = self.prepare_compression(conf.result_compression)

    def encode(self, data: Any) -> bytes | str:
        """A payload; text where the serializer writes text."""
        payload = self._encode(data)[2]
        if self.compression:
            raw = payload if isinstance(payload, bytes) else payload.encode()
            return documents.sealed(*compress(raw, self.compression))
        return payload

    def _encode(self, data: Any) -> tuple[str, str, bytes | str]:
        """Content type, content encoding and payload."""
        kind, encoding, payload = registry.dumps(data, self.serializer)
        return kind, encoding, payload if encoding == "binary" else payload.decode(encoding)

    def decode(self, payload: Any) -> Any:
        """What :meth:`encode` was given.

        Raises:
            ContentDisallowed: Content of this kind is not accepted.
            DecodeError: It is damaged.
        """
        if payload is None:
            return None
        data = payload.encode() if isinstance(payload, str) else bytes(payload)
        data = documents.unsealed(data, DEFAULT_LIMIT)
        accept = self.accept | {registry.serializer(self.serializer).content_type}
        return registry.loads(data, self.content_type, self.content_encoding, accept=accept)

    def decode_result(self, payload: Any) -> dict[str, Any]:
        """A task's document, its exception as one."""
        return self.meta_from_decoded(self.decode(payload))

    def meta_from_decoded(self, meta: dict[str, Any]) -> dict[str, Any]:
        """The same document, its exception as one."""
        if meta["status"] in self.EXCEPTION_STATES:
            meta["result"] = self.exception_to_python(meta["result"])
        return meta

    def encode_result(self, result: Any, state: str) -> Any:
        """What is to be kept of a result."""
        if state in self.EXCEPTION_STATES and isinstance(result, BaseException):
            return self.prepare_exception(result)
        return self.prepare_value(result)

    def prepare_value(self, result: Any) -> Any:
        """What is to be kept of a value: of results, their tuples."""
        if self.serializer != "pickle" and isinstance(result, ResultBase):
            return result.as_tuple()
        return result

    def prepare_exception(self, exc: BaseException, serializer: str | None = None) -> Any:
        """What is to be kept of an exception: its class and arguments, or itself with pickle."""
        found = registry.serializer(serializer or self.serializer)
        if found.name == "pickle":
            try:
                found.loads(found.dumps(exc))
            except Exception:  # noqa: BLE001 - pickling runs the code of the exception's class
                return errors.encode(exc, dumps=found.dumps)
            return exc
        return errors.encode(exc, dumps=found.dumps)

    def exception_to_python(self, exc: Any) -> BaseException | None:
        """The exception again.

        Raises:
            SecurityError: It names something that is no exception.
            ValueError: It names nothing.
        """
        if not exc:
            return None
        try:
            return errors.decode(exc if isinstance(exc, BaseException) else dict(exc))
        except DecodeError as error:
            raise ValueError(str(error)) from error

    def prepare_expires(self, value: Any, type: Any = None) -> Any:
        """Seconds that results are kept: ``value``, else as the settings say."""
        if value is None:
            value = self.app.conf.result_expires
        if isinstance(value, timedelta):
            value = value.total_seconds()
        return type(value) if value is not None and type else value

    def prepare_persistent(self, enabled: bool | None = None) -> bool:
        """Whether results survive a restart."""
        if enabled is not None:
            return enabled
        said = self.app.conf.result_persistent
        return self.persistent if said is None else bool(said)

    def prepare_compression(self, compression: str | None) -> str | None:
        """How to compress, if this backend can keep what is compressed."""
        return compression if compression and self.supports_result_compression else None
