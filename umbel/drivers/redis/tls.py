"""Encrypted connections, as ``ssl_*`` options ask for them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import cast

from umbel.exceptions import ImproperlyConfigured

__all__ = ["context"]

_VERIFY_MODES = {
    "none": ssl.CERT_NONE,
    "cert_none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "cert_optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
    "cert_required": ssl.CERT_REQUIRED,
}


def context(options: Mapping[str, object]) -> ssl.SSLContext:
    """What the options ask for, certificates and host names checked unless they say no.

    Args:
        options: redis-py's, as Celery's ``broker_use_ssl`` has them: ``ssl_cert_reqs``,
            ``ssl_ca_certs``, ``ssl_ca_path``, ``ssl_ca_data``, ``ssl_certfile``, ``ssl_keyfile``,
            ``ssl_password``, ``ssl_check_hostname``, ``ssl_ciphers``, ``ssl_min_version``.

    Raises:
        ImproperlyConfigured: A file cannot be used, or a value means nothing.
    """
    made = ssl.create_default_context()
    mode = _mode(options.get("ssl_cert_reqs", "required"))
    check = str(options.get("ssl_check_hostname", True)).lower() not in {"false", "0", "no"}
    made.check_hostname = check and mode is not ssl.CERT_NONE
    made.verify_mode = mode
    try:
        authority = _text(options, "ssl_ca_certs")
        folder = _text(options, "ssl_ca_path")
        inline = _text(options, "ssl_ca_data")
        if authority or folder or inline:
            made.load_verify_locations(authority, folder, inline)
        certificate = _text(options, "ssl_certfile")
        if certificate:
            made.load_cert_chain(
                certificate, _text(options, "ssl_keyfile"), _text(options, "ssl_password")
            )
        ciphers = _text(options, "ssl_ciphers")
        if ciphers:
            made.set_ciphers(ciphers)
    except OSError as exc:
        files = [f"{name}={value!r}" for name, value in options.items() if "_" in name and value]
        said = ", ".join(each for each in files if "password" not in each)
        raise ImproperlyConfigured(f"cannot encrypt as asked ({said}): {exc}") from exc
    minimum = options.get("ssl_min_version")
    if minimum is not None:
        made.minimum_version = ssl.TLSVersion(cast("int", minimum))
    return made


def _mode(wanted: object) -> ssl.VerifyMode:
    if isinstance(wanted, ssl.VerifyMode):
        return wanted
    if wanted is None:
        return ssl.CERT_NONE
    try:
        return _VERIFY_MODES[str(wanted).lower()]
    except KeyError:
        raise ImproperlyConfigured(
            f"ssl_cert_reqs is {wanted!r}; it must be 'none', 'optional' or 'required'"
        ) from None


def _text(options: Mapping[str, object], name: str) -> str | None:
    value = options.get(name)
    return None if value is None else str(value)
