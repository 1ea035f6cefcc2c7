"""The ``auth`` serializer: content that says who wrote it, and proves it.

Source:
    Celery 5.7, user guide, Security, "Message Signing"; layout observed on the wire.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NotBase64

import msgspec

from umbel.exceptions import ContentDisallowed, ImproperlyConfigured, SecurityError
from umbel.security.certificate import Certificate, CertStore, FSCertStore
from umbel.security.digests import get_digest_algorithm
from umbel.security.key import PrivateKey
from umbel.serialization import registry

__all__ = ["SecureSerializer", "register_auth"]

_SEPARATOR = b"\x00\x01"
_HARMLESS = ("json", "msgpack", "raw", "text")
"""Serializers whose content runs nothing, whoever signed it."""
CONTENT_TYPE = "application/data"


class _Signed(msgspec.Struct, frozen=True):
    """The five parts of signed content."""

    signer: str
    signature: bytes
    content_type: str
    content_encoding: str
    body: bytes


class SecureSerializer:
    """Signs what another serializer writes, and checks before anything is read.

    Args:
        key: Signs; None: this process only reads.
        cert: Belongs to the key; names the signer.
        cert_store: Whom this process trusts; None: it only writes.
        digest: The hash function's name.
        serializer: Writes the content.
        accept: Serializers that signed content may be in, besides ``serializer`` and those
            that run nothing (json, msgpack, raw, text). A trusted signature says who wrote a
            pickle; whether pickles are wanted is another question.

    Raises:
        ImproperlyConfigured: There is no such hash function or serializer.
    """

    def __init__(
        self,
        key: PrivateKey | None = None,
        cert: Certificate | None = None,
        cert_store: CertStore | None = None,
        digest: str = "sha256",
        serializer: str = "json",
        accept: tuple[str, ...] = (),
    ) -> None:
        if serializer == "auth":
            raise ImproperlyConfigured(
                "setup_security: the serializer 'auth' cannot sign itself; give it another "
                "to write with, for example serializer='json'."
            )
        self._key = key
        self._cert = cert
        self._cert_store = cert_store
        self._digest = get_digest_algorithm(digest)
        self._serializer = serializer
        names = {*_HARMLESS, serializer, *accept} - {"auth"}
        self._readers = {
            found.content_type: found for found in (registry.serializer(name) for name in names)
        }

    def serialize(self, data: object) -> bytes:
        """The value, written and signed.

        Raises:
            EncodeError: The value cannot be written.
            SecurityError: There is no key or no certificate.
        """
        if self._key is None or self._cert is None:
            raise SecurityError(
                "Unable to serialize: signing needs security_key and security_certificate."
            )
        content_type, content_encoding, body = registry.dumps(data, self._serializer)
        return b64encode(
            _SEPARATOR.join(
                (
                    b64encode(self._cert.get_id().encode()),
                    b64encode(self._key.sign(body, self._digest)),
                    content_type.encode(),
                    content_encoding.encode(),
                    body,
                )
            )
        )

    def deserialize(self, data: str | bytes) -> object:
        """The value, when somebody trusted signed it.

        Raises:
            SecurityError: It is not signed, or not by anybody in the store, or was changed.
            ContentDisallowed: It was signed, and is in a form that is not accepted.
            DecodeError: It is not what its content type says.
        """
        if self._cert_store is None:
            raise SecurityError("Unable to deserialize: reading needs security_cert_store.")
        signed = _unpack(data.encode() if isinstance(data, str) else data)
        self._cert_store[signed.signer].verify(signed.body, signed.signature, self._digest)
        reader = self._readers.get(signed.content_type)
        if reader is None:
            raise ContentDisallowed(
                f"refused signed content of type {signed.content_type!r:.80} from "
                f"{signed.signer!r:.200}: setup_security(allowed_serializers=…) does not name it."
            )
        return reader.loads(signed.body)


def register_auth(
    key: str | bytes | None = None,
    key_password: str | bytes | None = None,
    cert: str | bytes | None = None,
    store: str | None = None,
    digest: str = "sha256",
    serializer: str = "json",
    accept: tuple[str, ...] = (),
) -> None:
    """Make ``auth`` a serializer of this process.

    Args:
        key: PEM.
        cert: PEM.
        store: A folder, or a pattern of files.
        accept: See :class:`SecureSerializer`.

    Raises:
        SecurityError: A key or certificate is unfit.
        ImproperlyConfigured: There is no such hash function or serializer.
    """
    secure = SecureSerializer(
        PrivateKey(key, key_password) if key else None,
        Certificate(cert) if cert else None,
        FSCertStore(store) if store else None,
        digest,
        serializer,
        accept,
    )
    registry.register("auth", secure.serialize, secure.deserialize, CONTENT_TYPE, "utf-8")


def _unpack(data: bytes) -> _Signed:
    try:
        parts = b64decode(data, validate=True).split(_SEPARATOR, maxsplit=4)
        signer, signature, content_type, content_encoding, body = parts
        return _Signed(
            b64decode(signer, validate=True).decode(),
            b64decode(signature, validate=True),
            content_type.decode(),
            content_encoding.decode(),
            body,
        )
    except (NotBase64, ValueError) as error:
        raise SecurityError("Unable to deserialize: the content is not signed.") from error
