"""Steps that were written for Celery's worker and kombu's consumers work under the alias."""

from __future__ import annotations

import pytest

from tests.bare import Project

pytestmark = pytest.mark.slow

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
