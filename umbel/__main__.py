"""``python -m umbel``."""

from __future__ import annotations

from umbel.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
