"""Hash functions and the padding of signatures."""

from __future__ import annotations

# Optional: umbel[auth].
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from umbel.exceptions import ImproperlyConfigured

__all__ = ["get_digest_algorithm", "pss"]


def get_digest_algorithm(digest: str = "sha256") -> hashes.HashAlgorithm:
    """The hash function called that: ``sha256``, ``sha512`` and others.

    Raises:
        ImproperlyConfigured: There is none.
    """
    found = getattr(hashes, digest.upper(), None)
    try:
        if isinstance(found, type) and issubclass(found, hashes.HashAlgorithm):
            return found()
    except TypeError:
        # Functions whose digest may have any length are no help here.
        pass
    raise ImproperlyConfigured(
        f"security_digest: no hash function {digest!r:.40}; try 'sha256' or 'sha512'."
    )


def pss(digest: hashes.HashAlgorithm) -> padding.PSS:
    """How signatures are padded.

    Source:
        Celery 5.7, ``auth``: RSA-PSS, MGF1 over the digest, the longest salt there is room for.
    """
    return padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.MAX_LENGTH)
