"""An app whose broker is a list: what it publishes stays where the test can read it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from umbel import Umbel
from umbel.app import current
from umbel.clock import ManualClock
from umbel.model import Delivery, Message, Queue, QueueStats
from umbel.protocols import Broker, Capabilities
from umbel.testing.faults import FaultPlan, faulty_broker
from umbel.wire import headers as wire_headers
from umbel.wire import tasks as wire_tasks
from umbel.wire.tasks import Body

Write = Callable[[str, str], None]


class PostBox:
    """A broker that keeps what is published, batch by batch, and hands nothing out."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self.batches: list[list[Message]] = []
        self.started = 0
        # While it is cleared, whoever publishes waits.
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def declare(self, queues: Sequence[Queue]) -> None: ...

    async def publish(self, messages: Sequence[Message]) -> None:
        self.started += 1
        await self.gate.wait()
        self.batches.append(list(messages))

    async def receive(self, queues: Sequence[str], *, limit: int, wait: float) -> list[Delivery]:
        return []

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        return []

    async def nack(
        self, deliveries: Sequence[Delivery], *, requeue: bool = True, delay: float = 0.0
    ) -> list[Delivery]:
        return []

    async def extend(self, deliveries: Sequence[Delivery], *, lease: float) -> list[Delivery]:
        return []

    async def purge(self, queues: Sequence[str]) -> int:
        return 0

    async def stats(self, queues: Sequence[str]) -> dict[str, QueueStats]:
        return {}


class Letter(msgspec.Struct):
    """A published message, read as a worker would."""

    message: Message
    headers: dict[str, Any]
    body: Body

    @property
    def id(self) -> str:
        return self.message.id


class Shop(Umbel):
    """An app that publishes into a :class:`PostBox`, which may fail by a plan."""

    def on_init(self) -> None:
        self.post = PostBox()
        self.plan = FaultPlan()

    def _make_producer_broker(self) -> Broker:
        return faulty_broker(self.post, self.plan)

    @property
    def sent(self) -> list[Message]:
        return [message for batch in self.post.batches for message in batch]

    @property
    def letters(self) -> list[Letter]:
        return [read(message) for message in self.sent]

    @property
    def letter(self) -> Letter:
        [letter] = self.letters
        return letter


def read(message: Message) -> Letter:
    content_types = frozenset({message.content_type})
    delivery = Delivery(tag=1, queue="celery", message=message)
    request = wire_tasks.decode(delivery, key=1, accept=content_types, limit=1 << 20)
    body = wire_tasks.read_body(request, accept=content_types, limit=1 << 20)
    return Letter(message, wire_headers.read(message), body)


MakeApp = Callable[..., Shop]


@pytest.fixture(autouse=True)
def no_traces() -> Iterator[None]:
    """Whatever a test makes current or shares, the next one does not see."""
    app, default = current._current.app, current._default
    makers = list(current.shared_task_makers)
    yield
    current._current.app, current._default = app, default
    current.shared_task_makers[:] = makers


@pytest.fixture
def make_app() -> Iterator[MakeApp]:
    apps: list[Shop] = []

    def make(main: str | None = "shop", **options: Any) -> Shop:
        options = {"backend": "disabled", "set_as_current": False, **options}
        app = Shop(main, **options)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def app(make_app: MakeApp, clock: ManualClock) -> Shop:
    return make_app(clock=clock)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module into the working directory; it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> None:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    yield write
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
