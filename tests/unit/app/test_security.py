"""``app.setup_security``: what it asks for, and what it turns on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.app.security import setup_security
from umbel.exceptions import ImproperlyConfigured, SecurityError
from umbel.serialization import registry
from umbel.testing.certificates import Identity, identity


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[Identity]:
    yield identity(tmp_path, "shop")
    registry.unregister("auth")


@pytest.fixture
def app(signer: Identity) -> Umbel:
    return Umbel("signed", broker="memory://", backend=None, set_as_current=False)


def settings(signer: Identity) -> dict[str, Any]:
    return {
        "task_serializer": "auth",
        "accept_content": ["auth"],
        "security_key": signer.key,
        "security_certificate": signer.cert,
        "security_cert_store": signer.cert,
    }


def test_it_makes_auth_a_serializer(app: Umbel, signer: Identity) -> None:
    app.conf.update(settings(signer))

    app.setup_security()

    content_type, encoding, signed = registry.dumps([[1], {}, {}], "auth")
    assert (content_type, encoding) == ("application/data", "utf-8")
    assert registry.loads(signed, content_type, encoding, accept=app.accept) == [[1], {}, {}]


def test_its_arguments_go_before_the_settings(app: Umbel, signer: Identity) -> None:
    app.conf.update(settings(signer) | {"security_key": "/nowhere", "security_digest": "md5"})

    setup_security(key=signer.key, digest="sha512", serializer="msgpack", app=app)

    assert registry.dumps([1], "auth")[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task_serializer": "json"}, "signing protects nothing"),
        ({"accept_content": ["auth", "json"]}, "signing protects nothing"),
        ({"security_key": None}, "security_key missing"),
        ({"security_cert_store": None}, "security_cert_store missing"),
        ({"security_key": "/nowhere/at.all"}, "security_key: cannot read '/nowhere/at.all'"),
        ({"security_digest": "rot13"}, "security_digest: no hash function 'rot13'"),
    ],
)
def test_it_says_what_is_missing_or_wrong(
    app: Umbel, signer: Identity, change: dict[str, Any], message: str
) -> None:
    app.conf.update(settings(signer) | change)

    with pytest.raises(ImproperlyConfigured, match=message):
        app.setup_security()


def test_a_file_that_is_no_key_is_refused(app: Umbel, signer: Identity) -> None:
    app.conf.update(settings(signer) | {"security_key": signer.cert})

    with pytest.raises(SecurityError, match="Invalid private key"):
        app.setup_security()


def test_without_cryptography_it_names_the_extra(
    app: Umbel, signer: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.update(settings(signer))
    for name in [name for name in sys.modules if name.startswith("umbel.security.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)

    with pytest.raises(ImproperlyConfigured, match=r"umbel\[auth\]"):
        app.setup_security()
