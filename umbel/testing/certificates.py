"""Keys and certificates for a test, made on the spot. Needs cryptography (``umbel[auth]``)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, NamedTuple

# Optional: umbel[auth].
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "Identity", "identity"]


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
    certificate = _certificate(name, key.public_key(), issuer=None, days=days).sign(
        key, hashes.SHA256()
    )
    secret = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return _written(folder, name, key, certificate, secret)


class Authority:
    """A certificate authority of a test's own, and the keys it vouches for.

    Args:
        folder: Where the files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        folder.mkdir(parents=True, exist_ok=True)
        own = _certificate(
            "Umbel Tests Authority", self._key.public_key(), issuer=None
        ).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._issuer = own.sign(self._key, hashes.SHA256())
        cert_file = folder / "authority.pem"
        cert_file.write_bytes(self._issuer.public_bytes(serialization.Encoding.PEM))
        self.cert = str(cert_file)
        """The file that says whom to trust, PEM."""

    def issue(self, name: str, *, hosts: Sequence[str] = ("localhost", "127.0.0.1")) -> Identity:
        """A key, and a certificate that says it belongs to these hosts."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [_general_name(host) for host in hosts]
        certificate = (
            _certificate(name, key.public_key(), issuer=self._issuer.subject)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _written(self._folder, name, key, certificate, serialization.NoEncryption())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _certificate(
    name: str,
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    *,
    issuer: x509.Name | None,
    days: float = 30,
) -> x509.CertificateBuilder:
    """What a certificate says; None as the issuer: itself."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Umbel Tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    begin = datetime.now(UTC) - timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
    )


def _written(
    folder: Path,
    name: str,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    certificate: x509.Certificate,
    secret: serialization.KeySerializationEncryption,
) -> Identity:
    folder.mkdir(parents=True, exist_ok=True)
    key_file, cert_file = folder / f"{name}.key", folder / f"{name}.pem"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, secret
        )
    )
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Identity(str(key_file), str(cert_file))
