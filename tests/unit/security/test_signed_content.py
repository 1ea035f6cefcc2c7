"""The ``auth`` serializer by itself, and beside Celery's."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery.security.certificate import Certificate as CeleryCertificate
from celery.security.certificate import FSCertStore as CeleryStore
from celery.security.key import PrivateKey as CeleryKey
from celery.security.serialization import SecureSerializer as CelerySerializer

from umbel.clock import ManualClock
from umbel.exceptions import ContentDisallowed, EncodeError, ImproperlyConfigured, SecurityError
from umbel.security.certificate import Certificate, CertStore, FSCertStore
from umbel.security.key import PrivateKey
from umbel.security.serialization import SecureSerializer
from umbel.serialization import registry
from umbel.testing.certificates import Identity, identity
from umbel.wire.results import peek_state


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return identity(tmp_path_factory.mktemp("trusted"), "shop")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return identity(tmp_path_factory.mktemp("stranger"), "mallory")


def store_of(*identities: Identity) -> CertStore:
    store = CertStore()
    for one in identities:
        store.add_cert(Certificate(Path(one.cert).read_text()))
    return store


def signer(one: Identity, store: CertStore | None = None, **options: Any) -> SecureSerializer:
    return SecureSerializer(
        PrivateKey(Path(one.key).read_text()),
        Certificate(Path(one.cert).read_text()),
        store or store_of(one),
        **options,
    )


VALUE = [[1, "zwei", None], {"x": {"deep": [True]}}, {"callbacks": None}]


def test_what_is_signed_reads_back(trusted: Identity) -> None:
    auth = signer(trusted)

    assert auth.deserialize(auth.serialize(VALUE)) == VALUE


def test_celery_reads_what_umbel_signs(trusted: Identity) -> None:
    reader = CelerySerializer(cert_store=CeleryStore(str(Path(trusted.cert).parent / "*.pem")))

    assert reader.deserialize(signer(trusted).serialize(VALUE)) == VALUE


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_umbel_reads_what_celery_signs(trusted: Identity, serializer: str, digest: str) -> None:
    writer = CelerySerializer(
        CeleryKey(Path(trusted.key).read_text()),
        CeleryCertificate(Path(trusted.cert).read_text()),
        digest=digest,
        serializer=serializer,
    )

    assert signer(trusted, digest=digest).deserialize(writer.serialize(VALUE)) == VALUE


def test_content_that_was_changed_is_refused(trusted: Identity) -> None:
    auth = signer(trusted)
    fields = b64decode(auth.serialize({"pay": 10}))
    forged = b64encode(fields.replace(b'"pay":10', b'"pay":99'))

    with pytest.raises(SecurityError, match="Bad signature: the content is not what"):
        auth.deserialize(forged)


def test_a_signer_who_is_not_in_the_store_is_refused(trusted: Identity, stranger: Identity) -> None:
    with pytest.raises(SecurityError, match="Unknown certificate: 'Umbel Tests mallory"):
        signer(trusted).deserialize(signer(stranger).serialize(VALUE))


def test_a_stranger_cannot_borrow_a_name(trusted: Identity, stranger: Identity) -> None:
    name = b64encode(Certificate(Path(trusted.cert).read_text()).get_id().encode())
    parts = b64decode(signer(stranger).serialize(VALUE)).split(b"\0\1", maxsplit=4)
    borrowed = b64encode(b"\0\1".join([name, *parts[1:]]))

    with pytest.raises(SecurityError, match="Bad signature"):
        signer(trusted).deserialize(borrowed)


@pytest.mark.parametrize(
    "content",
    [b"", b"no base64!", b64encode(b"too\0\1few"), b"[[1], {}, {}]", b64encode(b"\0\1" * 9)],
)
def test_content_that_is_not_signed_is_refused(trusted: Identity, content: bytes) -> None:
    with pytest.raises(SecurityError):
        signer(trusted).deserialize(content)


def test_a_signed_pickle_is_refused_unless_asked_for(trusted: Identity) -> None:
    pickled = signer(trusted, serializer="pickle").serialize(VALUE)

    with pytest.raises(ContentDisallowed, match="allowed_serializers"):
        signer(trusted).deserialize(pickled)
    assert signer(trusted, accept=("pickle",)).deserialize(pickled) == VALUE


async def test_a_certificate_signs_nothing_once_it_has_expired(trusted: Identity) -> None:
    clock = ManualClock(start=datetime.now(UTC))
    store = CertStore()
    store.add_cert(Certificate(Path(trusted.cert).read_text(), clock=clock))
    auth = signer(trusted, store)
    signed = auth.serialize(VALUE)
    assert auth.deserialize(signed) == VALUE

    await clock.advance(40 * 86400)

    with pytest.raises(SecurityError, match=r"Expired certificate: .* valid until"):
        auth.deserialize(signed)


def test_a_store_reads_a_folder_or_a_pattern_and_names_the_file_that_is_unfit(
    tmp_path: Path,
) -> None:
    one, two = identity(tmp_path / "keys", "one"), identity(tmp_path / "keys", "two")
    certs = tmp_path / "certs"
    certs.mkdir()
    for each in (one, two):
        (certs / Path(each.cert).name).write_bytes(Path(each.cert).read_bytes())

    assert len(list(FSCertStore(str(certs)).itercerts())) == 2
    assert len(list(FSCertStore(str(certs / "o*.pem")).itercerts())) == 1

    (certs / "three.pem").write_text("nothing")
    with pytest.raises(SecurityError, match=r"three\.pem: Invalid certificate"):
        FSCertStore(str(certs))


def test_a_store_refuses_certificates_that_have_expired_or_come_twice(tmp_path: Path) -> None:
    old = identity(tmp_path / "old", "old", days=0.5)
    with pytest.raises(SecurityError, match="Expired certificate"):
        FSCertStore(old.cert)

    one = identity(tmp_path / "one", "one")
    (tmp_path / "one" / "again.pem").write_bytes(Path(one.cert).read_bytes())
    with pytest.raises(SecurityError, match="Duplicate certificate"):
        FSCertStore(str(tmp_path / "one" / "*.pem"))


def test_keys_may_have_a_password(tmp_path: Path) -> None:
    locked = identity(tmp_path, "locked", password=b"sesame")
    key = Path(locked.key).read_bytes()

    assert PrivateKey(key, "sesame")
    for wrong in ("open", None):
        with pytest.raises(SecurityError, match="Invalid private key"):
            PrivateKey(key, wrong)


def test_only_rsa_keys_sign(tmp_path: Path) -> None:
    curve = identity(tmp_path, "curve", kind="ec")

    with pytest.raises(SecurityError, match="RSA"):
        PrivateKey(Path(curve.key).read_bytes())
    with pytest.raises(SecurityError, match="RSA"):
        Certificate(Path(curve.cert).read_bytes())


@pytest.mark.parametrize("digest", ["md999", "HashAlgorithm", "shake128", ""])
def test_unknown_hash_functions_are_a_configuration_error(digest: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="security_digest"):
        SecureSerializer(digest=digest)


def test_auth_does_not_sign_itself() -> None:
    with pytest.raises(ImproperlyConfigured, match="cannot sign itself"):
        SecureSerializer(serializer="auth")


def test_a_value_that_cannot_be_written_is_an_encoding_error(trusted: Identity) -> None:
    with pytest.raises(EncodeError):
        signer(trusted).serialize(object())


def test_without_keys_nothing_is_signed_and_nothing_is_read(trusted: Identity) -> None:
    bare = SecureSerializer()

    with pytest.raises(SecurityError, match="security_key"):
        bare.serialize(VALUE)
    with pytest.raises(SecurityError, match="security_cert_store"):
        bare.deserialize(signer(trusted).serialize(VALUE))


@pytest.fixture
def registered(trusted: Identity) -> Iterator[SecureSerializer]:
    auth = signer(trusted)
    registry.register("auth", auth.serialize, auth.deserialize, "application/data")
    yield auth
    registry.unregister("auth")


def test_the_state_of_a_signed_result_can_be_seen(registered: SecureSerializer) -> None:
    document = {"status": "SUCCESS", "result": 4, "task_id": "t"}

    assert peek_state(registered.serialize(document)) == "SUCCESS"


def test_raw_content_is_raw_again_when_signing_is_over(registered: SecureSerializer) -> None:
    assert registry.serializer("application/data").name == "auth"

    registry.unregister("auth")

    assert registry.serializer("application/data").name == "raw"
