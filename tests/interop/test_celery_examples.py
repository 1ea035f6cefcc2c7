"""Celery's own examples run under the alias as they are, without Celery: workers and clients.

They are taken from Celery's source distribution: from the folder that ``UMBEL_CELERY_SOURCE``
names, else from the package index by pip; where there is neither, the tests are skipped.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import pytest

from tests.bare import BareInterpreter, Project
from umbel.compat.release import __version__
from umbel.testing.certificates import identity
from umbel.testing.servers import ServerMissing, redis_server, required

pytestmark = pytest.mark.slow

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="module")
def source() -> Path:
    """Celery's source distribution, unpacked."""
    given = os.environ.get("UMBEL_CELERY_SOURCE")
    if given:
        return Path(given)
    kept = Path(gettempdir()) / f"umbel-celery-{__version__}"
    if not kept.exists():
        _fetch(kept)
    return kept


def _fetch(kept: Path) -> None:
    pip = shutil.which("pip") or pytest.skip("no pip to fetch Celery's source distribution with")
    wanted = f"celery=={__version__}"
    command = [pip, "download", wanted, "--no-binary", "celery", "--no-deps", "--quiet"]
    with TemporaryDirectory(dir=kept.parent) as folder:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=90, check=False
        )
        if done.returncode:
            pytest.skip(f"the package index has not given Celery's source: {done.stderr[-300:]}")
        with tarfile.open(next(Path(folder).glob("celery-*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        try:
            # Whoever comes first: several processes may run these tests.
            (Path(folder) / f"celery-{__version__}").rename(kept)
        except OSError:
            assert kept.exists()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    try:
        with redis_server() as redis:
            yield redis.url()
    except ServerMissing as missing:
        if required("redis"):
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BareInterpreter:
    return BareInterpreter(tmp_path_factory.mktemp("bare"))


databases = itertools.count()
"""Redis has sixteen; each test takes one."""


@pytest.fixture
def example(
    source: Path, server: str, bare: BareInterpreter, tmp_path: Path
) -> Callable[[str], Project]:
    def example(name: str) -> Project:
        folder = tmp_path / name
        shutil.copytree(source / "examples" / name, folder)
        url = f"{server.rsplit('/', 1)[0]}/{next(databases)}"
        # The examples name servers of their authors' machines.
        return Project(folder, bare, {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url})

    return example


def test_tutorial(example: Callable[[str], Project]) -> None:
    tutorial = example("tutorial")

    with tutorial.worker("-A", "tasks", "worker", "-l", "INFO"):
        assert tutorial.client("from tasks import add; print(add.delay(4, 4).get(timeout=20))") == (
            "8\n"
        )


def test_next_steps_and_the_sessions_of_its_document(
    example: Callable[[str], Project], source: Path
) -> None:
    project = example("next-steps")
    with project.worker("-A", "proj", "worker", "-l", "INFO", "-c", "2"):
        document = source / "docs" / "getting-started" / "next-steps.rst"
        typed = project.run(PROGRAMS / "typed_in.py", document)
        different = json.loads(typed.splitlines()[-1])

    assert different == [
        # As the document says next; it adds 2 and "2".
        ["res.get(timeout=1)", "TypeError"],
        # ``add`` has no such argument, with Celery neither.
        ["s3.delay(debug=False)   # debug is now False.", "TypeError"],
        # Not defined there.
        [
            "upload_document.s(file) | group(apply_filter.s() for filter in filters)",
            "NameError",
        ],
    ]


def test_application_whose_tasks_are_slow_and_acknowledged_late(
    example: Callable[[str], Project],
) -> None:
    application = example("app")

    with application.worker("-A", "myapp:app", "worker", "-l", "INFO", ends=False):
        application.client("from myapp import add; add.delay(16, 16)")
        application.wait_for("received")


def test_pydantic(example: Callable[[str], Project]) -> None:
    models = example("pydantic")

    with models.worker("-A", "tasks", "worker", "-l", "INFO"):
        printed = models.client("from tasks import x; print(x.delay({'value': 1}).get(timeout=20))")
    assert printed == "{'value': 'example: 1'}\n"


def test_periodic_tasks(example: Callable[[str], Project]) -> None:
    periodic = example("periodic-tasks")

    with periodic.worker("-A", "myapp", "worker", "-B", "-l", "INFO"):
        periodic.wait_for("Sending due task add every 10 (myapp.say)")
        periodic.wait_for("hello")


def test_security_with_a_certificate_made_as_it_says(example: Callable[[str], Project]) -> None:
    signed = example("security")
    made = identity(signed.folder / "made", "worker")
    shutil.move(made.key, signed.folder / "ssl" / "worker.key")
    shutil.move(made.cert, signed.folder / "ssl" / "worker.pem")

    with signed.worker("-A", "mysecureapp", "worker", "-l", "INFO"):
        printed = signed.client("from mysecureapp import boom; print(boom.delay().get(timeout=20))")
    assert printed == "I am a signed message\n"


def test_stamping_revokes_by_stamped_header(example: Callable[[str], Project]) -> None:
    stamping = example("stamping")

    with stamping.worker("-A", "myapp", "worker", "-l", "INFO", "-c", "2"):
        stamping.client("""
import myapp, examples, revoke_example
for name in ("run_example1", "run_example2", "run_example3", "run_example_with_replace"):
    getattr(examples, name)()
assert revoke_example.create_canvas(3).delay().get(timeout=20) == 180
revoke_example.revoke_then_run()
""")
        stamping.wait_for("(revoked by header: {'mystamp': 'I am a stamp!'})")
    assert "Traceback" not in stamping.log.read_text()
