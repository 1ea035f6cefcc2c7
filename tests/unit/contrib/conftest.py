"""An app for tests, with a store of its own: these tests leave messages behind."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from umbel import Umbel
from umbel.contrib.testing.app import TestApp, setup_default_app


@pytest.fixture
def app() -> Iterator[Umbel]:
    url = f"memory://{uuid4().hex}"
    app = TestApp(broker=url, backend=url)
    with setup_default_app(app):
        yield app
