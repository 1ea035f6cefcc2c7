"""``kombu.utils.encoding`` and ``kombu.utils.json``, where kombu is not installed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from umbel.compat.texts import bytes_to_str, json_dumps, json_loads, safe_str, str_to_bytes


def test_texts_and_bytes_become_each_other_and_the_rest_stays() -> None:
    assert [bytes_to_str(value) for value in ("é", "é".encode(), 1)] == ["é", "é", 1]
    assert [str_to_bytes(value) for value in ("é", b"x", 1)] == ["é".encode(), b"x", 1]


def test_an_object_without_a_fit_text_is_shown_all_the_same() -> None:
    class Broken:
        def __str__(self) -> str:
            raise ValueError("no")

    assert "Unrepresentable" in safe_str(Broken())
    assert safe_str(b"\xff") == "\ufffd"


def test_json_is_text_and_keeps_moments() -> None:
    value = {"at": datetime(2026, 5, 4, tzinfo=UTC), "args": [1]}

    assert isinstance(json_dumps(value), str)
    assert json_loads(json_dumps(value)) == value


def test_what_is_no_json_is_a_wrong_value() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_loads("b'[1]'")
