"""Where a RabbitMQ is and how to get in: URLs, as kombu and Celery write them."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import cycle, islice
from typing import cast
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from umbel.exceptions import ImproperlyConfigured

__all__ = ["Address", "parse", "turns"]

_TLS_SCHEMES = {"amqps", "rabbitmqs"}
_SCHEMES = {"amqp", "pyamqp", "librabbitmq", "rabbitmq", "rpc"} | _TLS_SCHEMES
_VERIFY_MODES = {
    "none": ssl.CERT_NONE,
    "cert_none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "cert_optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
    "cert_required": ssl.CERT_REQUIRED,
}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One virtual host of one server, with what opens its door."""

    host: str = "localhost"
    port: int = 5672
    vhost: str = "/"
    username: str = "guest"
    password: str = "guest"  # noqa: S105 - what RabbitMQ ships with, for the loopback only
    tls: ssl.SSLContext | None = None

    @property
    def safe_url(self) -> str:
        """The URL without its password, for messages and logs.

        >>> parse("amqp://me:secret@rabbit//")[0].safe_url
        'amqp://me:**@rabbit:5672//'
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "amqps" if self.tls else "amqp"
        return f"{scheme}://{quote(self.username)}:**@{host}:{self.port}/{self.vhost}"


def parse(urls: str, tls: object = None) -> list[Address]:
    """Read one URL, or several with ``;`` between them.

    ``amqp://[user[:password]@]host[:port][/vhost]``; ``amqps://`` for TLS, with ``ssl_*`` options
    in the query. The virtual host is what follows the first slash: nothing and ``//`` both mean
    ``/``.

    Args:
        tls: As ``broker_use_ssl``: true, or a mapping of options that hold where the URL says
            nothing.

    Raises:
        ImproperlyConfigured: A URL is not one of these.

    >>> [each.vhost for each in parse("amqp://a//;amqp://b/shop;amqp://c/%2Fx;amqp://d")]
    ['/', 'shop', '/x', '/']
    """
    addresses = [_parse_one(url.strip(), tls) for url in urls.split(";") if url.strip()]
    if not addresses:
        raise ImproperlyConfigured("the URL of RabbitMQ is empty")
    return addresses


def turns(urls: str, strategy: object = None) -> Iterator[int]:
    """Which of several URLs is tried next, whenever one has failed: endless.

    Args:
        strategy: As ``broker_failover_strategy``: ``round-robin`` (also None), ``shuffle``, or
            what is called with the list of URLs and returns an iterator of them.

    Raises:
        ImproperlyConfigured: There is no such strategy.

    >>> order = turns("amqp://a;amqp://b;amqp://c")
    >>> [next(order) for _ in range(4)]
    [1, 2, 0, 1]
    """
    each = [url.strip() for url in urls.split(";") if url.strip()]
    if strategy in {None, "", "round-robin"}:
        return islice(cycle(range(len(each))), 1, None)
    if strategy == "shuffle":
        return _shuffled(len(each))
    if callable(strategy):
        return _chosen(each, cast("Callable[[list[str]], Iterable[str]]", strategy))
    raise ImproperlyConfigured(
        f"broker_failover_strategy is {strategy!r}; it must be 'round-robin', 'shuffle' or callable"
    )


def _shuffled(count: int) -> Iterator[int]:
    while True:
        yield from random.sample(range(count), count)


def _chosen(
    urls: list[str], strategy: Callable[[list[str]], Iterable[str]]
) -> Generator[int, None, None]:
    while True:
        any_chosen = False
        for url in strategy(list(urls)):
            any_chosen = True
            if url not in urls:
                raise ImproperlyConfigured(
                    f"broker_failover_strategy gives {url!r:.40}, which is none of the URLs"
                )
            yield urls.index(url)
        if not any_chosen:
            raise ImproperlyConfigured("broker_failover_strategy gives no URL")


def _parse_one(url: str, tls: object) -> Address:
    try:
        parts = urlsplit(url if "://" in url else f"{url}://")
        given_port = parts.port
    except ValueError:
        # Without the cause: what it takes for the port may be a part of the password.
        raise ImproperlyConfigured(
            "cannot read the host and port in the RabbitMQ URL. Its form is "
            "amqp://user:password@host[:port]/vhost; in a password, / ? # @ are written "
            "%2F %3F %23 %40."
        ) from None
    scheme = parts.scheme.lower()
    if scheme not in _SCHEMES:
        raise ImproperlyConfigured(
            f"{scheme!r} is not a scheme of RabbitMQ URLs: use amqp:// or amqps://"
        )
    secured = scheme in _TLS_SCHEMES or bool(tls)
    options: dict[str, object] = dict(parse_qsl(parts.query))
    if isinstance(tls, Mapping):
        options = {**cast("Mapping[str, object]", tls), **options}
    return Address(
        host=unquote(parts.hostname or "localhost"),
        port=given_port or (5671 if secured else 5672),
        vhost=unquote(parts.path[1:]) or "/",
        username=unquote(parts.username) if parts.username else "guest",
        password=unquote(parts.password) if parts.password is not None else "guest",
        tls=_tls_context(options) if secured else None,
    )


def _tls_context(options: Mapping[str, object]) -> ssl.SSLContext:
    """What the options ask for, certificates and host names checked unless they say no."""
    context = ssl.create_default_context()
    wanted = _option(options, "cert_reqs") or "required"
    if isinstance(wanted, ssl.VerifyMode):
        mode = wanted
    else:
        try:
            mode = _VERIFY_MODES[str(wanted).lower()]
        except KeyError:
            raise ImproperlyConfigured(
                f"ssl_cert_reqs is {wanted!r}; it must be 'none', 'optional' or 'required'"
            ) from None
    checked = _option(options, "check_hostname")
    check = checked is None or str(checked).lower() not in {"false", "0", "no"}
    context.check_hostname = check and mode is not ssl.CERT_NONE
    context.verify_mode = mode
    try:
        authority = _option(options, "ca_certs") or _option(options, "cacertfile")
        if authority:
            context.load_verify_locations(str(authority))
        certificate = _option(options, "certfile")
        if certificate:
            key = _option(options, "keyfile")
            password = _option(options, "password")
            context.load_cert_chain(
                str(certificate),
                None if key is None else str(key),
                None if password is None else str(password),
            )
        ciphers = _option(options, "ciphers")
        if ciphers:
            context.set_ciphers(str(ciphers))
    except OSError as exc:
        raise ImproperlyConfigured(f"cannot use the TLS files for RabbitMQ: {exc}") from exc
    return context


def _option(options: Mapping[str, object], name: str) -> object:
    """An option by its name, or as Redis' URLs call it."""
    value = options.get(name)
    return options.get(f"ssl_{name}") if value is None else value
