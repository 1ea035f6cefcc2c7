"""Packages that others wrote for Celery work under the alias, as the package index has them."""

from __future__ import annotations

import json
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

pytestmark = pytest.mark.slow

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

REDBEAT = """
from celery import Celery

app = Celery("tasks")
app.conf.update(
    redbeat_lock_timeout=5,
    beat_scheduler="redbeat.RedBeatScheduler",
    beat_max_loop_interval=1,
    beat_schedule={"often": {"task": "tasks.tick", "schedule": 1.0, "args": ("settings",)}},
)


@app.task
def tick(origin):
    print("tick from", origin)
"""

TRACED = """
import json
import os

from celery import Celery
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter


class ToFile(SpanExporter):
    def export(self, spans):
        with open("spans", "a") as file:
            for span in spans:
                status = span.status.status_code.name
                file.write(json.dumps([span.context.trace_id, span.name, status]) + os.linesep)


app = Celery("tasks")
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ToFile()))
trace.set_tracer_provider(provider)
CeleryInstrumentor().instrument()


@app.task
def add(x, y):
    return x + y
"""


DJANGO = """
import os

import django
from celery import Celery
from django.conf import settings

settings.configure(
    SECRET_KEY="of a test",
    INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_beat"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "database"}},
    USE_TZ=True,
    CELERY_BEAT_SCHEDULER="django_celery_beat.schedulers:DatabaseScheduler",
    CELERY_BEAT_SCHEDULE={"often": {"task": "tasks.tick", "schedule": 1.0, "args": ["settings"]}},
    CELERY_BEAT_MAX_LOOP_INTERVAL=1,
)
django.setup()

app = Celery("tasks")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def tick(origin):
    print("tick from", origin)
"""

RESULTS = """
import django
from celery import Celery
from django.conf import settings

settings.configure(
    SECRET_KEY="of a test",
    INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_results"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "database"}},
    CACHES={
        "default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
                    "LOCATION": "cache"},
    },
    USE_TZ=True,
    CELERY_RESULT_BACKEND="BACKEND_NAME",
    CELERY_CACHE_BACKEND="default",
    CELERY_RESULT_EXTENDED=True,
)
django.setup()

app = Celery("tasks")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail():
    raise LookupError("not here")


@app.task(bind=True)
def report(self):
    self.update_state(state="PROGRESS", meta={"done": 3})
    return app.AsyncResult(self.request.id).state
"""

BATCHES = """
import os

from celery import Celery
from celery_batches import Batches

app = Celery("tasks")
app.conf.worker_prefetch_multiplier = 0


@app.task(base=Batches, flush_every=5, flush_interval=1, acks_late=True)
def total(requests):
    numbers = [request.args[0] for request in requests]
    print("batch of", len(numbers), "in another process:", os.getpid() != os.getppid())
    for request in requests:
        app.backend.mark_as_done(request.id, sum(numbers), request=request)


@app.task
def add(x, y):
    return x + y
"""

STEPS = """
from celery import Celery, bootsteps
from kombu import Consumer, Exchange, Queue

app = Celery("tasks")
queue = Queue("custom", Exchange("custom"), "key")


class Greeting(bootsteps.StartStopStep):
    requires = {"celery.worker.components:Pool", "celery.worker.components:Timer"}

    def __init__(self, worker, hostname=None, **options):
        print("made by", worker.hostname, hostname == worker.hostname)

    def start(self, worker):
        self.timer = worker.timer.call_repeatedly(0.1, self.tick, (worker,), priority=10)

    def tick(self, worker):
        print("tick of", worker.hostname)
        self.timer.cancel()

    def stop(self, worker):
        print("goodbye of", worker.hostname)


class Listening(bootsteps.ConsumerStep):
    def get_consumers(self, channel):
        return [Consumer(channel, queues=[queue], callbacks=[self.heard], accept=["json"])]

    def heard(self, body, message):
        print("heard", body, message.delivery_info["routing_key"])
        message.ack()


class Widening(bootsteps.StartStopStep):
    def start(self, consumer):
        consumer.add_task_queue("extra")


app.steps["worker"].add(Greeting)
app.steps["consumer"].add(Listening)
app.steps["consumer"].add(Widening)


@app.task
def add(x, y):
    return x + y
"""

ONCE = """
import os

from celery import Celery
from celery_once import AlreadyQueued, QueueOnce
from celery_singleton import Singleton

app = Celery("tasks")
app.conf.ONCE = {
    "backend": "celery_once.backends.File",
    "settings": {"location": "locks", "default_timeout": 60},
}
app.conf.singleton_backend_url = os.environ["CELERY_BROKER_URL"]


@app.task(base=QueueOnce)
def once(x):
    return 2 * x


@app.task(base=Singleton, unique_on="x")
def single(x, y=0):
    return x + y
"""

PROGRESS = """
import time

from celery import Celery
from celery_progress.backend import ProgressRecorder

app = Celery("tasks")


@app.task(bind=True)
def count(self, until):
    for number in range(1, until + 1):
        ProgressRecorder(self).set_progress(number, until, "counting")
        time.sleep(0.5)
    return "done"
"""


SENTRY = """
import json

import sentry_sdk
from celery import Celery
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.transport import Transport


class ToFile(Transport):
    def capture_envelope(self, envelope):
        with open("envelopes", "a") as file:
            for item in envelope.items:
                file.write(json.dumps([item.type, item.payload.json]) + "\\n")


app = Celery("tasks")
sentry_sdk.init(
    dsn="http://key@localhost/1",
    transport=ToFile,
    traces_sample_rate=1.0,
    auto_enabling_integrations=False,
    default_integrations=False,
    integrations=[CeleryIntegration(monitor_beat_tasks=True)],
)


@app.task
def divide(x, y):
    return x / y


@app.task
async def fail_later():
    raise LookupError("later")


@app.task(bind=True, max_retries=1)
def hesitate(self):
    if not self.request.retries:
        raise self.retry(countdown=0)
    return self.request.headers["tenant"]


@app.task(throws=(KeyError,))
def expected():
    raise KeyError("expected")
"""


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


def test_redbeat_sends_what_the_settings_say_and_what_is_added_meanwhile(project: Project) -> None:
    (project.folder / "tasks.py").write_text(REDBEAT)

    with project.worker("-A", "tasks", "worker", "-B", "-l", "INFO"):
        project.wait_for("tick from settings")
        project.client("""
from celery.schedules import schedule
from redbeat import RedBeatSchedulerEntry
from tasks import app
RedBeatSchedulerEntry("later", "tasks.tick", schedule(1), args=["redis"], app=app).save()
""")
        project.wait_for("tick from redis")


def test_opentelemetry_follows_a_call_from_the_client_into_the_worker(project: Project) -> None:
    (project.folder / "tasks.py").write_text(TRACED)

    with project.worker("-A", "tasks", "worker", "-l", "INFO"):
        project.client("""
from tasks import add, trace
with trace.get_tracer("test").start_as_current_span("outer"):
    assert add.delay(1, 2).get(timeout=60) == 3
    assert isinstance(add.delay(1, "2").get(timeout=60, propagate=False), TypeError)
""")
    spans = [json.loads(line) for line in (project.folder / "spans").read_text().splitlines()]

    assert len({trace for trace, *_ in spans}) == 1
    assert sorted(rest for _, *rest in spans) == [
        ["apply_async/tasks.add", "UNSET"],
        ["apply_async/tasks.add", "UNSET"],
        ["outer", "UNSET"],
        ["run/tasks.add", "ERROR"],
        ["run/tasks.add", "UNSET"],
    ]


def test_celery_progress_tells_how_far_a_task_is(project: Project) -> None:
    (project.folder / "tasks.py").write_text(PROGRESS)

    with project.worker("-A", "tasks", "worker", "-l", "INFO"):
        seen = project.client("""
import json, time
from celery.result import AsyncResult
from celery_progress.backend import Progress
from tasks import count
called = count.delay(3)
deadline = time.monotonic() + 60
while (info := Progress(AsyncResult(called.id)).get_info())["state"] != "PROGRESS":
    assert time.monotonic() < deadline, info
    time.sleep(0.05)
called.get(timeout=60)
print(json.dumps([info, Progress(AsyncResult(called.id)).get_info()]))
""")
    during, after = json.loads(seen)

    assert during["progress"]["total"] == 3
    assert during["progress"]["description"] == "counting"
    assert (after["complete"], after["success"], after["result"]) == (True, True, "done")


def test_django_celery_beat_sends_what_is_in_the_database(project: Project) -> None:
    (project.folder / "tasks.py").write_text(DJANGO)
    project.client("""
import tasks
from django.core.management import call_command
from django_celery_beat.models import IntervalSchedule, PeriodicTask
call_command("migrate", verbosity=0)
second = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
PeriodicTask.objects.create(
    interval=second, name="later", task="tasks.tick", args='["database"]'
)
""")

    with project.worker("-A", "tasks", "worker", "-B", "-l", "INFO"):
        project.wait_for("tick from settings")
        project.wait_for("tick from database")
    counted = project.client("""
import tasks
from django_celery_beat.models import PeriodicTask
print(PeriodicTask.objects.get(name="later").total_run_count)
""")
    assert int(counted) >= 1


SCHEDULED = """
import time
from celery.schedules import crontab
from tasks import app
from umbel.beat.sending import Sending
from umbel.model import Firing
from umbel.schedules.plan import plan_of
plan = plan_of("every minute", {"task": "tasks.divide", "schedule": crontab(), "args": (4, 2)}, app)
now = time.time()
firing = Firing(name=plan.name, after=now, until=now, at=now, task_id="scheduled")
prepared = Sending(app).prepare([(plan, firing)])
app.portal.call(app.producer.publish, list(prepared.messages.values()), app.publish_policy({}))
assert app.AsyncResult("scheduled").get(timeout=60) == 2
"""
"""What beat does with an entry that is due; sentry watches none that come more often."""


def test_sentry_hears_of_what_fails_and_follows_a_call_into_the_worker(project: Project) -> None:
    (project.folder / "tasks.py").write_text(SENTRY)

    with project.worker("-A", "tasks", "worker", "-l", "INFO", "-c", "2"):
        printed = project.client("""
from tasks import divide, expected, fail_later, hesitate, sentry_sdk
with sentry_sdk.start_transaction(op="test", name="outer") as outer:
    sent = divide.delay(1, 0)
    assert isinstance(sent.get(timeout=60, propagate=False), ZeroDivisionError)
    assert divide.delay(4, 2).get(timeout=60) == 2
    assert isinstance(fail_later.delay().get(timeout=60, propagate=False), LookupError)
    assert isinstance(expected.delay().get(timeout=60, propagate=False), KeyError)
    assert hesitate.apply_async(headers={"tenant": "a"}).get(timeout=60) == "a"
print(outer.trace_id, sent.id)
""")
        project.client(SCHEDULED)
    trace_id, task_id = printed.splitlines()[-1].split()
    lines = (project.folder / "envelopes").read_text().splitlines()
    items = [json.loads(line) for line in lines]
    errors = {
        item["exception"]["values"][-1]["type"]: item for kind, item in items if kind == "event"
    }
    runs = [
        item
        for kind, item in items
        if kind == "transaction" and item["contexts"]["trace"]["trace_id"] == trace_id
    ]
    checked_in = [item for kind, item in items if kind == "check_in"]

    assert set(errors) == {"ZeroDivisionError", "LookupError"}
    assert errors["ZeroDivisionError"]["tags"]["celery_task_id"] == task_id
    assert {item["contexts"]["trace"]["trace_id"] for item in errors.values()} == {trace_id}
    assert sorted(
        (item["transaction"], item["contexts"]["trace"].get("status")) for item in runs
    ) == [
        ("outer", None),
        ("tasks.divide", "internal_error"),
        ("tasks.divide", "ok"),
        ("tasks.expected", "internal_error"),
        ("tasks.fail_later", "internal_error"),
        ("tasks.hesitate", "aborted"),
        ("tasks.hesitate", "ok"),
    ]
    assert [(item["monitor_slug"], item["status"]) for item in checked_in] == [
        ("every minute", "in_progress"),
        ("every minute", "ok"),
    ]
    assert checked_in[0]["check_in_id"] == checked_in[1]["check_in_id"]
    assert checked_in[0]["monitor_config"]["schedule"] == {
        "type": "crontab",
        "value": "* * * * *",
    }
    [ended] = [item for item in runs if item["transaction"] == "tasks.hesitate"][1:]
    [span] = [span for span in ended["spans"] if span["op"] == "queue.process"]
    assert span["data"]["messaging.system"] == "redis"
    assert span["data"]["messaging.message.retry.count"] == 1


RESULTS_ARE_KEPT = """
from celery import chain, chord, group
from tasks import add, app, fail, report, total
sent = add.apply_async((1, 2), headers={"periodic_task_name": "often"})
assert sent.get(timeout=60) == 3
failed = fail.delay()
assert isinstance(failed.get(timeout=60, propagate=False), LookupError)
assert "not here" in failed.traceback
assert report.delay().get(timeout=60) == "PROGRESS"
members = group(add.s(n, n) for n in range(3)).apply_async()
members.save()
assert members.get(timeout=60) == [0, 2, 4]
assert app.GroupResult.restore(members.id).get(timeout=60) == [0, 2, 4]
assert chord([add.s(n, n) for n in range(4)], total.s()).apply_async().get(timeout=60) == 12
end = chain(add.s(1, 1), add.s(2)).apply_async()
assert (end.get(timeout=60), end.parent.get(timeout=60)) == (4, 2)
assert app.backend.get_state(sent.id) == "SUCCESS"
"""


def keep_results(project: Project, backend: str) -> None:
    """Have Django keep the results; the environment would win over its settings."""
    (project.folder / "tasks.py").write_text(RESULTS.replace("BACKEND_NAME", backend))
    project.env = {**project.env, "CELERY_RESULT_BACKEND": ""}


def test_django_celery_results_keeps_what_tasks_return_in_the_database(project: Project) -> None:
    keep_results(project, "django-db")
    project.client("""
import tasks
from django.core.management import call_command
call_command("migrate", verbosity=0)
""")

    with project.worker("-A", "tasks", "worker", "-l", "INFO"):
        project.client(RESULTS_ARE_KEPT)
    rows = json.loads(
        project.client("""
import json
import tasks
from django_celery_results.models import TaskResult
names = ("task_name", "status", "task_args", "periodic_task_name", "result")
print(json.dumps(list(TaskResult.objects.order_by("id").values_list(*names))[:2]))
assert TaskResult.objects.get(task_name="tasks.fail").worker.startswith("celery@")
tasks.app.tasks["celery.backend_cleanup"]()
""")
    )
    assert rows == [
        ["tasks.add", "SUCCESS", '"[1, 2]"', "often", "3"],
        [
            "tasks.fail",
            "FAILURE",
            '"[]"',
            None,
            '{"exc_type":"LookupError","exc_message":["not here"],"exc_module":"builtins"}',
        ],
    ]


def test_django_celery_results_keeps_what_tasks_return_in_the_cache(project: Project) -> None:
    keep_results(project, "django-cache")

    with project.worker("-A", "tasks", "worker", "-l", "INFO"):
        project.client(RESULTS_ARE_KEPT)


def test_celery_batches_runs_calls_together(project: Project) -> None:
    (project.folder / "tasks.py").write_text(BATCHES)

    with project.worker("-A", "tasks", "worker", "-l", "INFO", "-c", "2"):
        project.client("""
from tasks import add, total
sent = [total.delay(n) for n in range(5)]
assert [each.get(timeout=60) for each in sent] == [10] * 5
sent = [total.delay(n) for n in range(2)]
assert add.delay(1, 2).get(timeout=60) == 3
assert [each.get(timeout=60) for each in sent] == [1] * 2
""")
    log = project.log.read_text()
    assert "batch of 5 in another process: True" in log
    assert "batch of 2 in another process: True" in log
    assert project.client("""
from tasks import app
async def count():
    stats = await (await app.connections.broker()).stats(["celery"])
    print(stats["celery"].ready + stats["celery"].leased)
app.portal.call(count)
""").split() == ["0"]


def test_steps_are_started_receive_messages_and_are_stopped(project: Project) -> None:
    (project.folder / "tasks.py").write_text(STEPS)

    with project.worker("-A", "tasks", "worker", "-l", "INFO", "-n", "here@there"):
        project.wait_for("made by here@there True")
        project.wait_for("tick of here@there")
        project.client("""
from tasks import add, app, queue
with app.producer_or_acquire() as producer:
    for name in ("one", "two"):
        producer.publish({"hello": name}, serializer="json", exchange=queue.exchange,
                         routing_key="key", declare=[queue], retry=True)
assert add.apply_async((1, 2), queue="extra").get(timeout=60) == 3
""")
        project.wait_for("heard {'hello': 'one'} key")
        project.wait_for("heard {'hello': 'two'} key")
    assert "goodbye of here@there" in project.log.read_text()


def test_celery_once_and_celery_singleton_keep_tasks_from_being_queued_twice(
    project: Project,
) -> None:
    (project.folder / "tasks.py").write_text(ONCE)
    queued = project.client("""
from tasks import AlreadyQueued, once, single
first = once.delay(4)
try:
    once.delay(4)
except AlreadyQueued as error:
    assert 0 < error.countdown <= 60
else:
    raise AssertionError("queued twice")
assert once.delay(5).id != first.id
only = single.delay(1, y=2)
assert single.delay(1, y=3).id == only.id
print(first.id, only.id)
""").split()

    with project.worker("-A", "tasks", "worker", "-l", "INFO"):
        project.client(f"""
from tasks import app, once, single
assert app.AsyncResult("{queued[0]}").get(timeout=60) == 8
assert app.AsyncResult("{queued[1]}").get(timeout=60) == 3
assert once.delay(4).get(timeout=60) == 8
again = single.delay(1, y=4)
assert again.id != "{queued[1]}" and again.get(timeout=60) == 5
""")
