"""Signed messages: turning them on for a process.

Source:
    Celery user guide, Security, "Message Signing".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from umbel.app.current import current_app
from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = ["setup_security"]


def setup_security(
    allowed_serializers: Iterable[str] | None = None,
    key: str | None = None,
    key_password: str | bytes | None = None,
    cert: str | None = None,
    store: str | None = None,
    digest: str | None = None,
    serializer: str = "json",
    app: Umbel | None = None,
) -> None:
    """Sign what this process sends, and read only what somebody trusted has signed.

    The serializer ``auth`` is the process's, as all serializers are: apps in one process share
    its key. The configuration must say ``task_serializer="auth"`` and ``accept_content=["auth"]``.

    Args:
        allowed_serializers: What signed content may be in, besides ``serializer``, json, msgpack
            and text.
        key: The file of the private key (PEM, RSA); default: ``security_key``.
        key_password: Default: ``security_key_password``.
        cert: The file of the certificate; default: ``security_certificate``.
        store: The folder of trusted certificates, or a pattern; default: ``security_cert_store``.
        digest: Default: ``security_digest``.
        serializer: What the content is written with.
        app: Default: the current app.

    Raises:
        ImproperlyConfigured: A setting is missing, contradicts signing, or names a file that
            cannot be read; or the extra ``umbel[auth]`` is not installed.
        SecurityError: A key or a certificate is unfit.
    """
    conf = (app or current_app).conf
    if conf.task_serializer != "auth" or list(conf.accept_content or ()) != ["auth"]:
        raise ImproperlyConfigured(
            "setup_security: signing protects nothing unless everything is signed and nothing "
            "else is read. Set task_serializer='auth' and accept_content=['auth'] "
            f"(found {conf.task_serializer!r} and {conf.accept_content!r})."
        )
    key = key or conf.security_key
    cert = cert or conf.security_certificate
    store = store or conf.security_cert_store
    if not (key and cert and store):
        needed = {"security_key": key, "security_certificate": cert, "security_cert_store": store}
        missing = ", ".join(name for name, value in needed.items() if not value)
        raise ImproperlyConfigured(
            f"setup_security: {missing} missing. Signing needs the files of the private key "
            "(security_key) and its certificate (security_certificate), and the folder of the "
            "certificates to trust (security_cert_store)."
        )
    try:
        # Optional: umbel[auth].
        from umbel.security.serialization import register_auth
    except ImportError as error:
        raise ImproperlyConfigured(
            "setup_security: signing needs the package cryptography. "
            'Install it with: pip install "umbel[auth]"'
        ) from error
    register_auth(
        _content(key, "security_key"),
        key_password or conf.security_key_password,
        _content(cert, "security_certificate"),
        store,
        digest or conf.security_digest,
        serializer,
        tuple(allowed_serializers or ()),
    )


def _content(path: str, setting: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ImproperlyConfigured(
            f"{setting}: cannot read {path!r}: {error.strerror or error}."
        ) from error
