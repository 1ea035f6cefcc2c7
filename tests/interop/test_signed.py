"""Signed messages between Celery and umbel: who is not trusted is not read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from umbel.testing.certificates import identity

from .conftest import PATIENCE, PROGRAMS, Worker, launch


@contextmanager
def signing_worker(
    side: str, settings: dict[str, object], url: str, folder: Path
) -> Iterator[Worker]:
    worker = launch(side, side, settings, url, folder, program="signed")
    try:
        deadline = time.monotonic() + PATIENCE
        while " ready." not in worker.log.read_text():
            assert worker.process.poll() is None, worker.log.read_text()
            assert time.monotonic() < deadline, worker.log.read_text()
            time.sleep(0.05)
        yield worker
    finally:
        worker.end()
        print(worker.log.read_text())


@pytest.mark.parametrize(("client", "worker"), [("umbel", "celery"), ("celery", "umbel")])
def test_signed_calls_and_signed_results_cross_and_unsigned_ones_are_refused(
    redis_url: str, tmp_path: Path, client: str, worker: str
) -> None:
    shop = identity(tmp_path / "certificates", "shop")
    settings: dict[str, object] = {
        "task_serializer": "auth",
        "result_serializer": "auth",
        "event_serializer": "auth",
        "accept_content": ["auth"],
        "result_accept_content": ["auth"],
        "security_key": shop.key,
        "security_certificate": shop.cert,
        "security_cert_store": str(Path(shop.cert).parent / "*.pem"),
    }
    with signing_worker(worker, settings, redis_url, tmp_path) as running:
        run = subprocess.run(
            [sys.executable, "signed_client.py", client, worker],
            check=False,
            cwd=PROGRAMS,
            env={
                **os.environ,
                "INTEROP_REDIS": redis_url,
                "INTEROP_SETTINGS": json.dumps(settings),
                "INTEROP_PATIENCE": str(PATIENCE),
                "PYTHONWARNINGS": "ignore",
            },
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE,
        )
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout) == [5, "ValueError('no')", worker, "PENDING"]
        assert "application/json" in running.log.read_text()
