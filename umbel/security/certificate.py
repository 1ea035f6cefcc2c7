"""Certificates, and the store of those whose signatures are trusted."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

# Optional: umbel[auth].
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import HashAlgorithm
from cryptography.x509 import load_pem_x509_certificate

from umbel.clock import SystemClock
from umbel.exceptions import SecurityError
from umbel.protocols.clock import Clock
from umbel.security.digests import pss

__all__ = ["CertStore", "Certificate", "FSCertStore"]

_SYSTEM = SystemClock()


class Certificate:
    """An X.509 certificate with an RSA key.

    Args:
        cert: PEM.

    Raises:
        SecurityError: It is no such certificate.
    """

    def __init__(self, cert: str | bytes, *, clock: Clock = _SYSTEM) -> None:
        data = cert.encode() if isinstance(cert, str) else cert
        try:
            self._cert = load_pem_x509_certificate(data)
        except ValueError as error:
            raise SecurityError(f"Invalid certificate: {error}") from error
        key = self._cert.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise SecurityError(
                f"Invalid certificate: it has a key of type {type(key).__name__}; "
                "signatures need RSA."
            )
        self._key = key
        self._clock = clock

    def has_expired(self) -> bool:
        """Whether its time is over."""
        return self._clock.now() >= self._cert.not_valid_after_utc

    def get_pubkey(self) -> rsa.RSAPublicKey:
        """The key that signatures are checked with."""
        return self._key

    def get_serial_number(self) -> int:
        """The number its issuer gave it."""
        return self._cert.serial_number

    def get_issuer(self) -> str:
        """The values of its issuer's name, joined by spaces."""
        return " ".join(str(attribute.value) for attribute in self._cert.issuer)

    def get_id(self) -> str:
        """Issuer and serial number: what messages call their signer."""
        return f"{self.get_issuer()} {self.get_serial_number()}"

    def verify(self, data: bytes, signature: bytes, digest: HashAlgorithm) -> None:
        """Check that the owner of this certificate signed the data.

        Raises:
            SecurityError: It is another signature, or the certificate has expired.
        """
        if self.has_expired():
            raise SecurityError(
                f"Expired certificate: {self.get_id()!r} was valid until "
                f"{self._cert.not_valid_after_utc:%Y-%m-%d %H:%M} UTC."
            )
        try:
            self._key.verify(signature, data, pss(digest), digest)
        except InvalidSignature as error:
            raise SecurityError(
                f"Bad signature: the content is not what {self.get_id()!r} signed."
            ) from error


class CertStore:
    """Trusted certificates, by id."""

    def __init__(self) -> None:
        self._certs: dict[str, Certificate] = {}

    def itercerts(self) -> Iterator[Certificate]:
        """Every certificate."""
        yield from self._certs.values()

    def __getitem__(self, id: str | bytes) -> Certificate:
        """The certificate of that id.

        Raises:
            SecurityError: There is none: the signer is not trusted.
        """
        wanted = id.decode("utf-8", "replace") if isinstance(id, bytes) else id
        try:
            return self._certs[wanted]
        except KeyError:
            raise SecurityError(
                f"Unknown certificate: {wanted!r:.200} is not in security_cert_store."
            ) from None

    def add_cert(self, cert: Certificate) -> None:
        """Trust a certificate.

        Raises:
            SecurityError: There is one of that id.
        """
        name = cert.get_id()
        if name in self._certs:
            raise SecurityError(f"Duplicate certificate: {name!r}")
        self._certs[name] = cert


class FSCertStore(CertStore):
    """The certificates in a folder, or in the files that a pattern matches.

    Raises:
        SecurityError: One of them is no certificate, is there twice, or has expired.
    """

    def __init__(self, path: str, *, clock: Clock = _SYSTEM) -> None:
        super().__init__()
        pattern = str(Path(path) / "*") if Path(path).is_dir() else path
        for name in sorted(glob.glob(pattern)):  # noqa: PTH207 - the pattern may be absolute
            try:
                certificate = Certificate(Path(name).read_bytes(), clock=clock)
            except SecurityError as error:
                raise SecurityError(f"{name}: {error}") from error
            if certificate.has_expired():
                raise SecurityError(f"{name}: Expired certificate: {certificate.get_id()!r}")
            self.add_cert(certificate)
