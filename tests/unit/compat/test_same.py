"""The same lines of code, run with Celery's modules and with the alias, come to the same.

The lines are in ``same/*.txt``, by module, with a blank line between two pieces of code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.compat.peer import celerys, ours


def _pieces() -> Iterator[tuple[str, str]]:
    for file in sorted((Path(__file__).parent / "same").glob("*.txt")):
        module = ""
        for piece in file.read_text().split("\n\n"):
            first, _, rest = piece.strip("\n").partition("\n")
            if first.startswith("[celery"):
                module = first.strip("[]")
                yield module, rest.strip("\n")
            elif not first.startswith("#"):
                yield module, piece.strip("\n")


@pytest.mark.parametrize(("module", "lines"), list(_pieces()))
def test_the_same_lines_come_to_the_same(module: str, lines: str) -> None:
    assert ours(module, lines) == celerys(module, lines)
