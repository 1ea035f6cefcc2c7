"""A run of the command line in this process, with an app in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    # What the options put into the environment is taken out again.
    for name in ("BROKER_URL", "RESULT_BACKEND", "CONFIG_MODULE", "APP", "CALL_QUEUE"):
        for prefix in ("UMBEL_", "CELERY_"):
            monkeypatch.setenv(prefix + name, "")
            if not name.endswith(("URL", "BACKEND")):
                monkeypatch.delenv(prefix + name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[Umbel]:
    name = request.node.name
    app = Umbel("shop", broker=f"memory://{name}", backend=f"memory://{name}", set_as_current=False)

    @app.task(name="shop.add")
    def add(x: int, y: int) -> int:
        return x + y

    yield app
    app.close()


@pytest.fixture
def run(app: Umbel, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*argv: str) -> tuple[int, str, str]:
        try:
            code: Any = main(argv, app=app)
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return code, out, err

    return run
