"""Where a Redis is and how to get in: URLs, as redis-py, kombu and Celery write them."""

from __future__ import annotations

import binascii
import ssl
from collections.abc import Mapping
from typing import Any, Literal, cast
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import msgspec

from umbel.drivers.redis import tls
from umbel.drivers.redis.options import check, from_query
from umbel.exceptions import ImproperlyConfigured
from umbel.utils.imports import symbol_by_name

__all__ = ["Address", "Place", "parse", "slot_of"]

_SOCKET_SCHEMES = {"unix", "socket", "redis+socket"}
_TLS_SCHEMES = {"rediss", "valkeys", "rediss+cluster"}
_CLUSTER_SCHEMES = {"redis+cluster", "rediss+cluster"}
_SCHEMES = {"redis", "valkey", "sentinel"} | _TLS_SCHEMES | _CLUSTER_SCHEMES
_PORT, _SENTINEL_PORT = 6379, 26379
_SLOTS = 16384

Kind = Literal["servers", "sentinel", "cluster"]


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One server, with what opens its door."""

    host: str = "localhost"
    port: int = _PORT
    path: str | None = None
    """Of a Unix socket; then ``host`` and ``port`` mean nothing."""
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None

    @property
    def safe_url(self) -> str:
        """The URL without its password, for messages and logs.

        >>> parse("redis://:secret@cache:6380/2").servers[0].safe_url
        'redis://:**@cache:6380/2'
        """
        secret = ":**" if self.password else ""
        user = quote(self.username) if self.username else ""
        login = f"{user}{secret}@" if user or secret else ""
        if self.path is not None:
            return f"unix://{login}{self.path}?db={self.db}"
        return f"{'rediss' if self.tls else 'redis'}://{login}{self.where}/{self.db}"

    @property
    def where(self) -> str:
        """Host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One database, and how to find the server that has it at the moment."""

    kind: Kind = "servers"
    servers: tuple[Address, ...]
    """To be tried in turn: servers, or Sentinels, or nodes of a cluster."""
    master: Address
    """What opens the door of the server that Sentinels or nodes name; else the first server."""
    master_name: str = ""
    """As the Sentinels call it."""
    min_other_sentinels: int = 0
    """How many other Sentinels one must know of to be believed."""
    credentials: Any = None
    """Gives user name and password, as redis-py's ``CredentialProvider``; None: the address
    has them."""
    options: Mapping[str, object] = {}
    """Transport options: those given, and those of the URL. In a cluster ``global_keyprefix`` has
    a hash tag, so that all keys are in one slot."""

    @property
    def prefix(self) -> str:
        """What all keys begin with."""
        return str(self.options.get("global_keyprefix") or "")

    @property
    def db(self) -> int:
        """The number of the database."""
        return self.master.db

    @property
    def safe_url(self) -> str:
        """Where it is looked for, without passwords.

        >>> parse("sentinel://:x@a;sentinel://b:7000", {"master_name": "m"}).safe_url
        'sentinel://a:26379;sentinel://b:7000 (master m)'
        """
        if self.kind == "sentinel":
            names = ";".join(f"sentinel://{server.where}" for server in self.servers)
            return f"{names} (master {self.master_name})"
        if self.kind == "cluster":
            scheme = "rediss" if self.master.tls else "redis"
            return ";".join(f"{scheme}+cluster://{server.where}" for server in self.servers)
        return ";".join(server.safe_url for server in self.servers)


def parse(urls: str, options: Mapping[str, object] | None = None) -> Place:
    """Read a URL of Redis, or several with ``;`` between them, to be tried in turn.

    ``redis://[[user]:password@]host[:port][/db]``, ``rediss://…?ssl_cert_reqs=none`` for TLS,
    ``unix:///path?db=1`` (also ``redis+socket:///path?virtual_host=1``) for a Unix socket,
    ``sentinel://host[:port][/db];sentinel://…`` for the server that Sentinels name,
    ``redis+cluster://host[:port];…`` for a cluster.

    Args:
        options: Transport options: what they say holds where the URL says nothing.

    Raises:
        ImproperlyConfigured: The URL is not one of these, or an option cannot be had.

    >>> parse("redis://user:p%40ss@[::1]:7000/3").master.password
    'p@ss'
    >>> parse("redis+socket:///run/redis.sock?virtual_host=4").db
    4
    """
    given = dict(options or {})
    check(given)
    parts = [_split(url.strip()) for url in urls.split(";") if url.strip()]
    if not parts:
        raise ImproperlyConfigured("the URL of Redis is empty")
    first = {**given, **from_query(dict(parse_qsl(parts[0].query)))}
    addresses = tuple(_address(part, given) for part in parts)
    kinds = {_kind(part) for part in parts}
    if len(kinds) > 1:
        raise ImproperlyConfigured(
            "the URLs of one broker or result backend are all of one kind: servers, Sentinels"
            " (sentinel://), or nodes of a cluster (redis+cluster://)"
        )
    kind: Kind = _kind(parts[0])
    if kind == "cluster":
        first["global_keyprefix"] = _tagged(str(given.get("global_keyprefix") or ""))
        if any(address.db for address in addresses):
            raise ImproperlyConfigured("a Redis Cluster has no databases but 0: leave out the /db")
    return Place(
        kind=kind,
        servers=_sentinels(addresses, given) if kind == "sentinel" else addresses,
        master=addresses[0],
        master_name=_master_name(first) if kind == "sentinel" else "",
        min_other_sentinels=int(cast("Any", given.get("min_other_sentinels") or 0)),
        credentials=_provider(first.get("credential_provider")),
        options=first,
    )


def slot_of(key: str) -> int:
    """The slot of a cluster that a key is in.

    Source:
        Redis Cluster specification, "Key distribution model" and "Hash tags".

    >>> slot_of("{user1000}.following") == slot_of("user1000"), slot_of("123456789")
    (True, 12739)
    """
    tag = key.partition("{")[2].partition("}")
    hashed = tag[0] if tag[0] and tag[1] else key
    return binascii.crc_hqx(hashed.encode(), 0) % _SLOTS


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url if "://" in url else f"{url}://")
        # Read here, so that one that is no number is found out now.
        _ = parts.port
    except ValueError:
        # Without the cause: what it takes for the port may be a part of the password.
        raise ImproperlyConfigured(
            "cannot read the host and port in the Redis URL. Its form is "
            "redis://[[user]:password@]host[:port][/db]; in a password, / ? # @ are written "
            "%2F %3F %23 %40."
        ) from None
    if parts.scheme.lower() not in _SCHEMES | _SOCKET_SCHEMES:
        raise ImproperlyConfigured(
            f"{parts.scheme!r} is not a scheme of Redis URLs: use redis://, rediss://, unix://,"
            " sentinel:// or redis+cluster://"
        )
    return parts


def _kind(parts: SplitResult) -> Kind:
    scheme = parts.scheme.lower()
    if scheme in _CLUSTER_SCHEMES:
        return "cluster"
    return "sentinel" if scheme == "sentinel" else "servers"


def _address(parts: SplitResult, options: Mapping[str, object]) -> Address:
    query = dict(parse_qsl(parts.query))
    scheme = parts.scheme.lower()
    asked: Any = options.get("ssl")
    is_socket = scheme in _SOCKET_SCHEMES
    is_secured = scheme in _TLS_SCHEMES or (bool(asked) and not is_socket)
    about_tls = {name: value for name, value in query.items() if name.startswith("ssl_")}
    if about_tls and not is_secured:
        raise ImproperlyConfigured(
            f"the URL says {', '.join(sorted(about_tls))}, and yet asks for no encryption: write"
            " rediss:// instead of redis://"
        )
    database: object = query.get("db", query.get("virtual_host"))
    if database is None and not is_socket:
        database = unquote(parts.path).strip("/") or None
    return Address(
        host=unquote(parts.hostname or str(options.get("host") or "localhost")),
        port=parts.port or _default_port(scheme, options),
        path=unquote(parts.path) if is_socket else None,
        db=_database(options.get("db") if database is None else database),
        username=_secret(parts.username or query.get("username"), options.get("username")),
        password=_secret(parts.password or query.get("password"), options.get("password")),
        tls=_context(asked, about_tls) if is_secured else None,
    )


def _context(asked: object, about: Mapping[str, object]) -> ssl.SSLContext:
    if isinstance(asked, ssl.SSLContext):
        return asked
    given: Mapping[str, object] = {}
    if isinstance(asked, Mapping):
        given = cast("Mapping[str, object]", asked)
    return tls.context({**given, **about})


def _default_port(scheme: str, options: Mapping[str, object]) -> int:
    if scheme == "sentinel":
        return _SENTINEL_PORT
    return int(cast("Any", options.get("port") or _PORT))


def _secret(said: str | None, default: object) -> str | None:
    if said:
        return unquote(said)
    return None if default is None or default == "" else str(default)


def _database(text: object) -> int:
    """The number of the database; nothing means 0."""
    try:
        return int(str(text).strip("/") or 0) if text is not None else 0
    except ValueError as exc:
        raise ImproperlyConfigured(
            f"a Redis database is a number, the URL says {text!r}: redis://host:6379/0"
        ) from exc


def _sentinels(
    addresses: tuple[Address, ...], options: Mapping[str, object]
) -> tuple[Address, ...]:
    """The Sentinels themselves: what opens their door is in ``sentinel_kwargs``."""
    about = cast("Mapping[str, object]", options.get("sentinel_kwargs") or {})
    is_secured = bool(about.get("ssl")) or any(name.startswith("ssl_") for name in about)
    context = tls.context(about) if is_secured else None
    return tuple(
        Address(
            host=address.host,
            port=address.port,
            username=_secret(None, about.get("username")),
            password=_secret(None, about.get("password")),
            tls=context,
        )
        for address in addresses
    )


def _provider(given: object) -> object:
    """What gives user names and passwords: an object, a class, or the dotted name of one."""
    if given is None:
        return None
    try:
        found: Any = symbol_by_name(given) if isinstance(given, str) else given
    except (ImportError, AttributeError, ValueError) as exc:
        raise ImproperlyConfigured(f"cannot import the credential provider: {exc}") from exc
    provider = found() if isinstance(found, type) else found
    if not hasattr(provider, "get_credentials"):
        raise ImproperlyConfigured(
            f"{given!r} is no credential provider: it has no get_credentials(), which returns"
            " (user name, password) or (password,)"
        )
    return provider


def _master_name(options: Mapping[str, object]) -> str:
    name = options.get("master_name")
    if not name:
        raise ImproperlyConfigured(
            "Sentinels look after several servers: say which one with the transport option"
            " master_name, as in broker_transport_options = {'master_name': 'mymaster'}"
        )
    return str(name)


def _tagged(prefix: str) -> str:
    """A prefix with a hash tag.

    >>> _tagged(""), _tagged("shop:"), _tagged("{a}b")
    ('{umbel}', '{shop:}', '{a}b')
    """
    if prefix.partition("{")[2].partition("}")[1]:
        return prefix
    return f"{{{prefix or 'umbel'}}}"
