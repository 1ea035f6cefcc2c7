"""``celery.platforms`` and what else has no place of its own."""

from __future__ import annotations

import errno
import io
import sys

import pytest

from umbel.compat import moved, platforms


def test_errors_of_the_system_are_passed_over_by_name_and_no_others() -> None:
    with platforms.ignore_errno("ENOENT"):
        raise OSError(errno.ENOENT, "not there")
    with pytest.raises(OSError, match="busy"), platforms.ignore_errno("ENOENT"):
        raise OSError(errno.EBUSY, "busy")


def test_a_buffer_is_no_terminal_and_neither_is_what_cannot_tell() -> None:
    assert not platforms.isatty(io.StringIO())
    assert not platforms.isatty(object())


def test_signals_have_names_without_their_prefix() -> None:
    assert platforms.signal_name(2) == "INT"


def test_a_module_is_imported_if_it_is_there() -> None:
    assert moved.try_import("sys") is sys
    assert moved.try_import("there.is.no.such", 1) == 1


def test_an_exception_is_raised_again_where_it_was() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        first = error
    with pytest.raises(KeyError) as again:
        moved.reraise(KeyError, first, first.__traceback__)

    assert again.value is first


def test_a_command_ends_with_the_code_it_gives() -> None:
    error = moved.CeleryCommandException("away", exit_code=platforms.EX_UNAVAILABLE)

    assert (error.format_message(), error.exit_code) == ("away", 69)
