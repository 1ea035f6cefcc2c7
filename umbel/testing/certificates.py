"""Keys and certificates for a test, made on the spot. Needs cryptography (``umbel[auth]``)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

# Optional: umbel[auth].
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

__all__ = ["Identity", "identity"]


class Identity(NamedTuple):
    """The files of one signer, PEM."""

    key: str
    cert: str


def identity(
    folder: Path,
    name: str,
    *,
    days: float = 30,
    password: bytes | None = None,
    kind: Literal["rsa", "ec"] = "rsa",
) -> Identity:
    """A key and a certificate that it signed itself, valid for ``days`` from yesterday on.

    Args:
        password: Encrypts the key.
    """
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if kind == "rsa":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Umbel Tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    begin = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    secret = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    key_file, cert_file = folder / f"{name}.key", folder / f"{name}.pem"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, secret
        )
    )
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Identity(str(key_file), str(cert_file))
