"""Where a Redis is and how to get in: URLs, as redis-py, kombu and Celery write them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

import msgspec

from umbel.exceptions import ImproperlyConfigured

__all__ = ["Address", "parse"]

_SOCKET_SCHEMES = {"unix", "socket", "redis+socket"}
_TLS_SCHEMES = {"rediss", "valkeys"}
_TCP_SCHEMES = {"redis", "valkey"} | _TLS_SCHEMES
_VERIFY_MODES = {
    "none": ssl.CERT_NONE,
    "cert_none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "cert_optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
    "cert_required": ssl.CERT_REQUIRED,
}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One Redis database, with what opens its door."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    """Of a Unix socket; then ``host`` and ``port`` mean nothing."""
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None

    @property
    def safe_url(self) -> str:
        """The URL without its password, for messages and logs.

        >>> parse("redis://:secret@cache:6380/2").safe_url
        'redis://:**@cache:6380/2'
        """
        secret = ":**" if self.password else ""
        user = quote(self.username) if self.username else ""
        login = f"{user}{secret}@" if user or secret else ""
        if self.path is not None:
            return f"unix://{login}{self.path}?db={self.db}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{login}{host}:{self.port}/{self.db}"


def parse(url: str, tls: object = None) -> Address:
    """Read a Redis URL.

    ``redis://[[user]:password@]host[:port][/db]``, ``rediss://…?ssl_cert_reqs=none`` for TLS,
    ``unix:///path?db=1`` (also ``redis+socket:///path?virtual_host=1``) for a Unix socket.

    Args:
        tls: As ``broker_use_ssl``: true, or a mapping of ``ssl_*`` options that hold where the
            URL says nothing.

    Raises:
        ImproperlyConfigured: The URL is not one of these.

    >>> parse("redis://user:p%40ss@[::1]:7000/3").password
    'p@ss'
    >>> parse("redis+socket:///run/redis.sock?virtual_host=4").db
    4
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError as exc:
        raise ImproperlyConfigured(f"cannot read the Redis URL: {exc}") from exc
    options: dict[str, object] = {key: values[0] for key, values in parse_qs(parts.query).items()}
    scheme = parts.scheme.lower()
    if scheme in _SOCKET_SCHEMES:
        path: str | None = unquote(parts.path)
        database = options.get("db", options.get("virtual_host"))
    elif scheme in _TCP_SCHEMES:
        path = None
        database = options.get("db", options.get("virtual_host", unquote(parts.path).strip("/")))
    else:
        raise ImproperlyConfigured(
            f"{scheme!r} is not a scheme of Redis URLs: use redis://, rediss:// or unix://"
        )
    secured = scheme in _TLS_SCHEMES or bool(tls)
    if isinstance(tls, Mapping):
        options = {**cast("Mapping[str, object]", tls), **options}
    return Address(
        host=unquote(parts.hostname or "localhost"),
        port=port,
        path=path,
        db=_database(database),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=_tls_context(options) if secured else None,
    )


def _database(text: object) -> int:
    """The number of the database; nothing means 0."""
    try:
        return int(str(text).strip("/") or 0) if text is not None else 0
    except ValueError as exc:
        raise ImproperlyConfigured(
            f"a Redis database is a number, the URL says {text!r}: redis://host:6379/0"
        ) from exc


def _tls_context(options: Mapping[str, object]) -> ssl.SSLContext:
    """What ``ssl_*`` options ask for, certificates and host names checked unless they say no."""
    context = ssl.create_default_context()
    wanted = options.get("ssl_cert_reqs", "required")
    if isinstance(wanted, ssl.VerifyMode):
        mode = wanted
    else:
        try:
            mode = _VERIFY_MODES[str(wanted).lower()]
        except KeyError:
            raise ImproperlyConfigured(
                f"ssl_cert_reqs is {wanted!r}; it must be 'none', 'optional' or 'required'"
            ) from None
    check = str(options.get("ssl_check_hostname", True)).lower() not in {"false", "0", "no"}
    context.check_hostname = check and mode is not ssl.CERT_NONE
    context.verify_mode = mode
    try:
        authority = _text(options, "ssl_ca_certs")
        folder = _text(options, "ssl_ca_path")
        inline = _text(options, "ssl_ca_data")
        if authority or folder or inline:
            context.load_verify_locations(authority, folder, inline)
        certificate = _text(options, "ssl_certfile")
        if certificate:
            context.load_cert_chain(
                certificate, _text(options, "ssl_keyfile"), _text(options, "ssl_password")
            )
        ciphers = _text(options, "ssl_ciphers")
        if ciphers:
            context.set_ciphers(ciphers)
    except OSError as exc:
        raise ImproperlyConfigured(f"cannot use the TLS files of the Redis URL: {exc}") from exc
    minimum = options.get("ssl_min_version")
    if minimum is not None:
        context.minimum_version = ssl.TLSVersion(cast("int", minimum))
    return context


def _text(options: Mapping[str, object], name: str) -> str | None:
    value = options.get(name)
    return None if value is None else str(value)
