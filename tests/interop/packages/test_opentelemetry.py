"""OpenTelemetry's instrumentation works under the alias."""

from __future__ import annotations

import json

import pytest

from tests.bare import Project

pytestmark = pytest.mark.slow

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
