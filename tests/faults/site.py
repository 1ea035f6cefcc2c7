"""Where faults take place: a broker and a result backend, a ledger, and workers that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from umbel import Umbel
from umbel.testing.servers import RabbitMQServer, RedisServer, rabbitmq_server, redis_server

from .ledger import Ledger, Tree, until

__all__ = ["BROKERS", "CONCURRENCY", "Fleet", "Site", "somewhere"]

CONCURRENCY = 2
BROKERS = ("sqlite", "redis", "rabbitmq")
PROJECT = Path(__file__).parent / "project"


class Site:
    """A broker and a result backend, a ledger of what the tasks did, and a client."""

    def __init__(
        self,
        folder: Path,
        broker: str,
        backend: str,
        *,
        lease: float = 20.0,
        server: RedisServer | RabbitMQServer | None = None,
    ) -> None:
        self.folder = folder
        self.broker = broker
        self.backend = backend
        self.lease = lease
        self.server = server
        self.ledger = Ledger(folder / "ledger")
        self.env = {
            "LEDGER": str(self.ledger.path),
            "LEASE": str(lease),
            "UMBEL_BROKER_URL": broker,
            "UMBEL_RESULT_BACKEND": backend,
            "PYTHONPATH": str(PROJECT),
        }
        self.app = Umbel("faults", broker=broker, backend=backend, set_as_current=False)
        self.app.conf.worker_lease = lease

    def send(self, task: str, numbers: range, *args: object, **options: Any) -> list[Any]:
        """Send one task per number; their results."""
        return self.app.send_many(
            {"task": f"tasks.{task}", "args": [number, *args], "options": options}
            for number in numbers
        )

    def use_quorum_queues(self) -> None:
        """Before anything is sent."""
        self.env["QUEUE_TYPE"] = self.app.conf.task_default_queue_type = "quorum"

    def worker(
        self, *arguments: str, env: dict[str, str] | None = None, app: str = "tasks"
    ) -> Tree:
        """A worker process and what it forks."""
        given = arguments if "-c" in arguments else ("-c", str(CONCURRENCY), *arguments)
        return Tree(self.folder, *given, env={**self.env, **(env or {})}, app=app)

    def starts(self) -> int:
        """How many runs have begun."""
        return sum(self.ledger.count("start").values())


class Fleet:
    """Workers that are started again when they have died, as a service manager does it."""

    def __init__(self, site: Site, size: int = 1, *arguments: str) -> None:
        self._make: Callable[[], Tree] = lambda: site.worker(*arguments)
        self.trees = [self._make() for _ in range(size)]
        self.restarts = 0

    def tend(self) -> None:
        """Start again what has died."""
        for place, tree in enumerate(self.trees):
            if tree.process.poll() is not None:
                self.restarts += 1
                self.trees[place] = self._make()

    def until(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Tend the workers until then."""

        def tended() -> bool:
            self.tend()
            return condition()

        until(tended, timeout, what)

    def stop(self) -> list[int]:
        """Ask all of them to end; their exit codes."""
        return [tree.stop() for tree in self.trees]

    def kill(self) -> None:
        """End what still runs."""
        for tree in self.trees:
            if tree.process.poll() is None:
                tree.kill()


@contextmanager
def somewhere(broker: str, folder: Path, *, lease: float = 20.0) -> Iterator[Site]:
    """A fresh site on a kind of broker, with servers of its own.

    Results of tasks that come over RabbitMQ go to an SQLite file. Redis has on disk what it has
    acknowledged, as RabbitMQ and SQLite do.

    Raises:
        ServerMissing: There is no such server on this machine.
    """
    with ExitStack() as stack:
        file = f"sqlite:///{folder / 'results.db'}"
        server: RedisServer | RabbitMQServer | None = None
        match broker:
            case "redis":
                server = stack.enter_context(
                    redis_server("--appendonly", "yes", "--appendfsync", "always")
                )
                site = Site(folder, server.url(), server.url(), lease=lease, server=server)
            case "rabbitmq":
                server = stack.enter_context(rabbitmq_server())
                site = Site(folder, server.url(), file, lease=lease, server=server)
            case _:
                url = f"sqlite:///{folder / 'queue.db'}"
                site = Site(folder, url, url, lease=lease)
        stack.callback(site.app.close)
        yield site
