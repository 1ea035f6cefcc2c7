"""sentry-sdk's integration works under the alias."""

from __future__ import annotations

import json

import pytest

from tests.bare import Project

pytestmark = pytest.mark.slow

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
    [outer] = [item for item in runs if item["transaction"] == "outer"]
    published = [span for span in outer["spans"] if span["op"] == "queue.publish"]
    assert [span["description"] for span in published][:2] == ["tasks.divide"] * 2
    assert published[0]["data"]["messaging.message.id"] == task_id
    assert published[0]["data"]["messaging.destination.name"] == "celery"
    assert len(published) == 5
    [ended] = [item for item in runs if item["transaction"] == "tasks.hesitate"][1:]
    [span] = [span for span in ended["spans"] if span["op"] == "queue.process"]
    assert span["data"]["messaging.system"] == "redis"
    assert span["data"]["messaging.message.retry.count"] == 1
