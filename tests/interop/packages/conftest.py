"""Packages that others wrote for Celery, as the index has them, and a project under the alias."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import pytest

from tests.bare import BareInterpreter, Project
from umbel.testing.servers import redis_server

PACKAGES = (
    "asgiref==3.11.0",
    "celery-batches==0.11",
    "celery-once==3.0.1",
    "celery-progress==0.5",
    "celery-redbeat==2.4.2",
    "celery-singleton==0.3.1",
    "certifi==2025.11.12",
    "cron-descriptor==2.0.6",
    "django==5.2.8",
    "django-celery-beat==2.9.0",
    "django-celery-results==2.6.0",
    "django-timezone-field==7.2.1",
    "python-crontab==3.3.0",
    "sentry-sdk==2.75.0",
    "sqlparse==0.5.3",
    "tenacity==9.1.2",
    "tzdata==2025.2",
    "urllib3==2.6.0",
    "python-dateutil==2.9.0.post0",
    "six==1.17.0",
    "opentelemetry-instrumentation-celery==0.66b2",
    "opentelemetry-instrumentation==0.66b2",
    "opentelemetry-semantic-conventions==0.66b2",
    "opentelemetry-api==1.45.2",
    "opentelemetry-sdk==1.45.2",
    "packaging==26.3",
    "typing-extensions==4.16.0",
    "wrapt==1.17.3",
)
"""With all they need, except Celery and what is Celery's."""


@pytest.fixture(scope="module")
def packages() -> Path:
    """Where the packages are installed."""
    uv = shutil.which("uv") or pytest.skip("no uv to install packages for Celery with")
    # Compiled: each test starts several processes that import them.
    options = ("--no-deps", "--compile-bytecode", "--python", sys.executable)
    mark = sha256(" ".join((*options, *PACKAGES)).encode()).hexdigest()[:12]
    kept = Path(gettempdir()) / f"umbel-packages-{mark}"
    if not kept.exists():
        with TemporaryDirectory(dir=kept.parent) as folder:
            command = [uv, "pip", "install", *options, "--target", f"{folder}/all", *PACKAGES]
            done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
            if done.returncode:
                pytest.skip(f"the package index has not given them: {done.stderr[-300:]}")
            try:
                # Whoever comes first: several processes may run these tests.
                Path(folder, "all").rename(kept)
            except OSError:
                assert kept.exists()
    return kept


@pytest.fixture
def project(packages: Path, tmp_path: Path) -> Iterator[Project]:
    with redis_server() as redis:
        env = {
            "CELERY_BROKER_URL": redis.url(),
            "CELERY_RESULT_BACKEND": redis.url(),
            "PYTHONPATH": str(packages),
        }
        (tmp_path / "project").mkdir()
        yield Project(tmp_path / "project", BareInterpreter(tmp_path / "bare"), env)
