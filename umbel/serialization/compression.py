"""Compression by name, and decompression that stops at a bound.

Source:
    Celery user guide, Calling Tasks, "Compression"; mime types observed with kombu 5.7.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from umbel.exceptions import DecodeError, EncodeError, TooLarge

__all__ = ["DEFAULT_LIMIT", "compress", "decompress", "mime_type"]

DEFAULT_LIMIT = 64 * 1024 * 1024
"""Bytes that a compressed message or result may unpack to."""

_LZMA_MEMORY = 128 * 1024 * 1024
"""Bytes; preset 9, the largest, needs 65 MiB to unpack."""
_ZSTD_WINDOW = 128 * 1024 * 1024

_MIME_BY_NAME = {
    "gzip": "application/x-gzip",
    "zlib": "application/x-gzip",
    "bzip2": "application/x-bz2",
    "bzip": "application/x-bz2",
    "lzma": "application/x-lzma",
    "xz": "application/x-lzma",
    "brotli": "application/x-brotli",
    "zstd": "application/zstd",
    "zstandard": "application/zstd",
}


def mime_type(name: str) -> str | None:
    """The mime type of a compression, by name or mime type; None when there is none such.

    >>> mime_type("gzip"), mime_type("application/zstd"), mime_type("rar")
    ('application/x-gzip', 'application/zstd', None)
    """
    mime = _MIME_BY_NAME.get(name, name)
    return mime if mime in _UNPACK_BY_MIME else None


def compress(data: bytes, name: str) -> tuple[bytes, str]:
    """The data compressed, and the mime type that says how.

    ``gzip`` is the zlib format, as in kombu.

    Raises:
        EncodeError: There is no compression of that name, or its package is not installed.
    """
    mime = mime_type(name)
    if mime is None:
        raise EncodeError(f"no compression {name!r}; there are {', '.join(_MIME_BY_NAME)}.")
    try:
        return _PACK_BY_MIME[mime](data), mime
    except ImportError as error:
        raise EncodeError(_missing(name, error)) from error


def decompress(data: bytes, mime_or_name: str, *, limit: int) -> bytes:
    """The data unpacked, never more than ``limit`` bytes of it.

    Raises:
        TooLarge: There is more than ``limit``; nothing beyond that was unpacked.
        DecodeError: The data is damaged, or the compression unknown or not installed.
    """
    mime = mime_type(mime_or_name)
    if mime is None:
        raise DecodeError(f"cannot decompress: no compression {mime_or_name!r:.80} is known.")
    try:
        unpacked = _UNPACK_BY_MIME[mime](data, limit)
    except ImportError as error:
        raise DecodeError(_missing(mime_or_name, error)) from error
    if len(unpacked) > limit:
        raise TooLarge(
            f"{len(data)} bytes of {mime} unpack to more than {limit} bytes. "
            "Raise the limit, or send less."
        )
    return unpacked


def _missing(name: str, error: ImportError) -> str:
    return f"compression {name!r} needs the package {error.name!r}, which is not installed."


def _pack_zlib(data: bytes) -> bytes:
    # Loaded on demand, like its four neighbours: few messages are compressed.
    import zlib

    return zlib.compress(data)


def _unpack_zlib(data: bytes, limit: int) -> bytes:
    # See _pack_zlib.
    import zlib

    unpacker = zlib.decompressobj()
    return _bounded(unpacker, unpacker.decompress, zlib.error, data, limit)


def _pack_bz2(data: bytes) -> bytes:
    # See _pack_zlib.
    import bz2

    return bz2.compress(data)


def _unpack_bz2(data: bytes, limit: int) -> bytes:
    # See _pack_zlib.
    import bz2

    unpacker = bz2.BZ2Decompressor()
    return _bounded(unpacker, unpacker.decompress, OSError, data, limit)


def _pack_lzma(data: bytes) -> bytes:
    # See _pack_zlib.
    import lzma

    return lzma.compress(data)


def _unpack_lzma(data: bytes, limit: int) -> bytes:
    # See _pack_zlib.
    import lzma

    unpacker = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
    return _bounded(unpacker, unpacker.decompress, lzma.LZMAError, data, limit)


def _bounded(
    unpacker: Any,
    unpack: Callable[[bytes, int], bytes],
    damaged: type[Exception],
    data: bytes,
    limit: int,
) -> bytes:
    """One call of a decompressor of the standard library, one byte beyond the limit."""
    try:
        unpacked = unpack(data, limit + 1)
    except (damaged, EOFError, ValueError) as error:
        raise DecodeError(f"cannot decompress: {error}.") from error
    if len(unpacked) > limit:
        return unpacked
    if not unpacker.eof:
        raise DecodeError("cannot decompress: the data ends too early.")
    if unpacker.unused_data:
        raise DecodeError("cannot decompress: something follows the compressed data.")
    return unpacked


def _pack_brotli(data: bytes) -> bytes:
    packed: bytes = import_module("brotli").compress(data)
    return packed


def _unpack_brotli(data: bytes, limit: int) -> bytes:
    brotli = import_module("brotli")
    unpacker = brotli.Decompressor()
    try:
        unpacked: bytes = unpacker.process(data, output_buffer_limit=limit + 1)
        while len(unpacked) <= limit and not unpacker.is_finished():
            more: bytes = unpacker.process(b"", output_buffer_limit=limit + 1 - len(unpacked))
            if not more:
                break
            unpacked += more
        finished = unpacker.is_finished()
    except TypeError as error:
        raise DecodeError(
            "cannot decompress brotli within a bound: upgrade the package brotli to 1.2."
        ) from error
    except brotli.error as error:
        raise DecodeError(f"cannot decompress: {error}.") from error
    if not finished and len(unpacked) <= limit:
        raise DecodeError("cannot decompress: the data ends too early.")
    return unpacked


def _pack_zstd(data: bytes) -> bytes:
    packed: bytes = import_module("zstandard").ZstdCompressor().compress(data)
    return packed


def _unpack_zstd(data: bytes, limit: int) -> bytes:
    zstandard = import_module("zstandard")
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    try:
        announced = zstandard.get_frame_parameters(data).content_size
        with unpacker.stream_reader(data) as stream:
            unpacked: bytes = stream.read(limit + 1)
    except zstandard.ZstdError as error:
        raise DecodeError(f"cannot decompress: {error}.") from error
    if announced != zstandard.CONTENTSIZE_UNKNOWN and len(unpacked) < min(announced, limit + 1):
        raise DecodeError("cannot decompress: the data ends too early.")
    return unpacked


_PACK_BY_MIME: dict[str, Callable[[bytes], bytes]] = {
    "application/x-gzip": _pack_zlib,
    "application/x-bz2": _pack_bz2,
    "application/x-lzma": _pack_lzma,
    "application/x-brotli": _pack_brotli,
    "application/zstd": _pack_zstd,
}
_UNPACK_BY_MIME: dict[str, Callable[[bytes, int], bytes]] = {
    "application/x-gzip": _unpack_zlib,
    "application/x-bz2": _unpack_bz2,
    "application/x-lzma": _unpack_lzma,
    "application/x-brotli": _unpack_brotli,
    "application/zstd": _unpack_zstd,
}
