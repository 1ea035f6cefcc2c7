"""The key that signs."""

from __future__ import annotations

# Optional: umbel[auth].
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import HashAlgorithm

from umbel.exceptions import SecurityError
from umbel.security.digests import pss

__all__ = ["PrivateKey"]


class PrivateKey:
    """An RSA key.

    Args:
        key: PEM.
        password: What the key is encrypted with, if it is.

    Raises:
        SecurityError: It is no such key, or the password is another.
    """

    def __init__(self, key: str | bytes, password: str | bytes | None = None) -> None:
        data = key.encode() if isinstance(key, str) else key
        secret = password.encode() if isinstance(password, str) else password
        try:
            found = serialization.load_pem_private_key(data, password=secret)
        except (ValueError, TypeError) as error:
            raise SecurityError(f"Invalid private key: {error}") from error
        if not isinstance(found, rsa.RSAPrivateKey):
            raise SecurityError(
                f"Invalid private key: it is of type {type(found).__name__}; signatures need RSA."
            )
        self._key = found

    def sign(self, data: bytes, digest: HashAlgorithm) -> bytes:
        """The signature of the data."""
        return self._key.sign(data, pss(digest), digest)
