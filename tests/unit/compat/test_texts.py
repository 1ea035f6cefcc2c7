"""``kombu.utils.encoding`` and ``kombu.utils.json``, where kombu is not installed."""

from __future__ import annotations

from datetime import UTC, datetime

import kombu.serialization
import pytest

from umbel.compat.texts import (
    bytes_to_str,
    deserialized,
    json_dumps,
    json_loads,
    safe_str,
    serialized,
    str_to_bytes,
)
from umbel.exceptions import ContentDisallowed


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


@pytest.mark.parametrize("serializer", [None, "json", "yaml", "pickle"])
@pytest.mark.parametrize("value", [[1, "a"], "text", b"bytes"])
def test_what_is_serialized_is_what_kombu_makes_of_it(
    serializer: str | None, value: object
) -> None:
    if serializer == "json" and isinstance(value, bytes):
        pytest.skip("each has a notation of its own for bytes")
    theirs = kombu.serialization.dumps(value, serializer)
    ours = serialized(value, serializer)

    assert ours[:2] == theirs[:2]
    assert type(ours[2]) is type(theirs[2])
    kind, encoding, data = theirs
    if serializer is not None:
        assert deserialized(data, kind, encoding, force=True) == value


def test_what_could_run_code_is_not_read_unless_it_is_asked_for() -> None:
    kind, encoding, data = serialized([1], "pickle")
    with pytest.raises(ContentDisallowed):
        deserialized(data, kind, encoding)
    assert deserialized(data, kind, encoding, accept=["pickle"]) == [1]
