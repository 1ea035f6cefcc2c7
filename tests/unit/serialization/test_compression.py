"""Compression by name; kombu is the peer."""

from __future__ import annotations

import kombu.compression as kombu
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.exceptions import DecodeError, EncodeError, TooLarge
from umbel.serialization.compression import compress, decompress, mime_type

NAMES = ["gzip", "zlib", "bzip2", "bzip", "lzma", "xz", "brotli", "zstd"]
DATA = b'{"some": "data"}' * 100


@pytest.mark.parametrize("name", NAMES)
def test_what_is_packed_is_unpacked(name: str) -> None:
    packed, mime = compress(DATA, name)

    assert len(packed) < len(DATA)
    assert mime == mime_type(name)
    assert decompress(packed, mime, limit=len(DATA)) == DATA
    assert decompress(packed, name, limit=len(DATA)) == DATA


@pytest.mark.parametrize("name", [name for name in NAMES if name != "zstd"])
def test_both_sides_unpack_what_the_other_packs(name: str) -> None:
    ours, theirs = compress(DATA, name), kombu.compress(DATA, name)

    assert ours[1] == theirs[1]
    assert kombu.decompress(*ours) == DATA
    assert decompress(*theirs, limit=10_000) == DATA


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_stops_at_the_limit(name: str) -> None:
    packed, mime = compress(bytes(20_000_000), name)

    with pytest.raises(TooLarge, match="more than 1000 bytes"):
        decompress(packed, mime, limit=1000)
    with pytest.raises(TooLarge):
        decompress(packed, mime, limit=19_999_999)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", [b"", b"junk", b"\x00" * 100])
def test_damaged_data_is_a_decode_error(name: str, data: bytes) -> None:
    with pytest.raises(DecodeError):
        decompress(data, name, limit=1000)


@pytest.mark.parametrize("name", NAMES)
def test_data_cut_short_is_a_decode_error(name: str) -> None:
    packed, mime = compress(DATA, name)

    with pytest.raises(DecodeError):
        decompress(packed[:-8], mime, limit=10_000)


def test_unknown_compressions_are_named() -> None:
    with pytest.raises(EncodeError, match="'rar'"):
        compress(b"", "rar")
    with pytest.raises(DecodeError, match="'application/x-rar'"):
        decompress(b"", "application/x-rar", limit=1)


@given(st.binary(max_size=200), st.sampled_from(NAMES))
def test_arbitrary_bytes_unpack_or_are_refused(data: bytes, name: str) -> None:
    try:
        assert len(decompress(data, name, limit=1000)) <= 1000
    except (DecodeError, TooLarge):
        pass
