"""Celery's own examples run under the alias as they are, without Celery: workers and clients.

gevent's and resultgraph are not among them: they import ``celery.task``, which Celery 5 has not.
"""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.bare import BareInterpreter, Project
from umbel.testing.certificates import identity

pytestmark = pytest.mark.slow

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BareInterpreter:
    return BareInterpreter(tmp_path_factory.mktemp("bare"))


databases = itertools.count()
"""Redis has sixteen; each test takes one."""


@pytest.fixture
def example(
    source: Path, redis_for_module: str, bare: BareInterpreter, tmp_path: Path
) -> Callable[[str], Project]:
    def example(name: str) -> Project:
        folder = tmp_path / name
        shutil.copytree(source / "examples" / name, folder)
        url = f"{redis_for_module.rsplit('/', 1)[0]}/{next(databases)}"
        # The examples name servers of their authors' machines.
        return Project(folder, bare, {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url})

    return example


def test_tutorial(example: Callable[[str], Project]) -> None:
    tutorial = example("tutorial")

    with tutorial.worker("-A", "tasks", "worker", "-l", "INFO"):
        assert tutorial.client("from tasks import add; print(add.delay(4, 4).get(timeout=60))") == (
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
        printed = models.client("from tasks import x; print(x.delay({'value': 1}).get(timeout=60))")
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
        printed = signed.client("from mysecureapp import boom; print(boom.delay().get(timeout=60))")
    assert printed == "I am a signed message\n"


def test_stamping_revokes_by_stamped_header(example: Callable[[str], Project]) -> None:
    stamping = example("stamping")

    with stamping.worker("-A", "myapp", "worker", "-l", "INFO", "-c", "2"):
        stamping.client("""
import myapp, examples, revoke_example
for name in ("run_example1", "run_example2", "run_example3", "run_example_with_replace"):
    getattr(examples, name)()
assert revoke_example.create_canvas(3).delay().get(timeout=60) == 180
revoke_example.revoke_then_run()
""")
        stamping.wait_for("(revoked by header: {'mystamp': 'I am a stamp!'})")
    assert "Traceback" not in stamping.log.read_text()


def test_django(example: Callable[[str], Project]) -> None:
    django = example("django")
    # As the guide has it for whole environments.
    (django.folder / "site").mkdir()
    alias = django.folder / "site" / "sitecustomize.py"
    alias.write_text("import umbel\numbel.install_as_celery()\n")
    django.env = {**django.env, "PYTHONPATH": str(alias.parent)}
    type_in = """
import runpy, sys
sys.argv = ["typed_in.py", "README.rst"]
runpy.run_path({program!r}, run_name="__main__")
"""
    django.run("manage.py", "migrate")

    with django.worker("-A", "proj", "worker", "-l", "INFO"):
        shell = ("manage.py", "shell", "-v", "0", "-c")
        typed = django.run(*shell, type_in.format(program=str(PROGRAMS / "typed_in.py")))
        printed = django.run(
            *shell,
            """
from demoapp.models import Widget
from demoapp.tasks import add, count_widgets, rename_widget
widget = Widget.objects.create(name="old")
rename_widget.delay_on_commit(widget.pk, "new")
print(add.delay(2, 3).get(timeout=60), count_widgets.delay().get(timeout=60))
""",
        )
        django.wait_for("demoapp.tasks.rename_widget")

    # ``delay_on_commit`` returns nothing, with Celery neither.
    assert json.loads(typed.splitlines()[-1]) == [["res.get()", "AttributeError"]]
    assert printed == "5 1\n"
    assert "Traceback" not in django.log.read_text()


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[str]:
    """A web server with three pages, of 1,000, 2,000 and 3,000 characters."""
    folder = tmp_path / "pages"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"{number}.txt").write_text("x" * 1000 * number)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_eventlet(example: Callable[[str], Project], pages: str) -> None:
    pytest.importorskip("pybloom_live")
    crawler = example("eventlet")

    with crawler.worker("worker", "-l", "INFO", "--concurrency=500", "--pool=eventlet"):
        printed = crawler.client(f"""
from tasks import urlopen
from celery import group
print(urlopen.delay("{pages}/1.txt").get(timeout=60))
result = group(urlopen.s(f"{pages}/{{page}}.txt") for page in (1, 2, 3)).apply_async()
print(sorted(incoming["result"] for _, incoming in result.iter_native(timeout=60)))
""")
        many = crawler.client(f"""
from bulk_task_producer import ProducerPool
from celery import current_app
from tasks import urlopen
pool = ProducerPool(current_app._get_current_object(), size=20)
receipts = [pool.apply_async(urlopen, ("{pages}/2.txt",), {{}}) for _ in range(50)]
for receipt in receipts:
    receipt.wait(timeout=60)
print(sum(receipt.result.get(timeout=60) for receipt in receipts))
""")

    assert printed == "1000\n[1000, 2000, 3000]\n"
    assert many.splitlines()[-1] == "100000"
