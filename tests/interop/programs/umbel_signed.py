"""umbel's side of the tests with signed messages."""

from __future__ import annotations

from umbel_side import app

app.setup_security()
