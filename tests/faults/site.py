"""Where faults take place: a broker and a result backend, a ledger, and workers that are kept."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from umbel import Umbel
from umbel.protocols import Clock
from umbel.testing.servers import RabbitMQServer, RedisServer, rabbitmq_server, redis_server

from .accounts import Accounts, Repeats
from .ledger import Ledger, Tree, until
from .project.clocks import ClockSetByHand

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
        self.accounts = Accounts()
        self.sent_by: dict[int, int] = {}
        """Tasks that are sent as another one ends: whoever runs that one again sends them again."""
        self.trees: list[Tree] = []
        """All there have been."""
        self.env = {
            "LEDGER": str(self.ledger.path),
            "LEASE": str(lease),
            "UMBEL_BROKER_URL": broker,
            "UMBEL_RESULT_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join((str(PROJECT), os.environ.get("PYTHONPATH", ""))),
        }
        self.app = self._client()

    def _client(self, clock: Clock | None = None) -> Umbel:
        app = Umbel(
            "faults", broker=self.broker, backend=self.backend, set_as_current=False, clock=clock
        )
        app.conf.worker_lease = self.lease
        return app

    def send(self, task: str, numbers: range, *args: object, **options: Any) -> list[Any]:
        """Send one task per number; their results."""
        return self.app.send_many(
            {"task": f"tasks.{task}", "args": [number, *args], "options": options}
            for number in numbers
        )

    def use_quorum_queues(self) -> None:
        """Before anything is sent."""
        self.env["QUEUE_TYPE"] = self.app.conf.task_default_queue_type = "quorum"

    def use_clock(self) -> Path:
        """Have everybody read a clock that a file sets, which has the seconds that it is wrong."""
        path = self.folder / "clock"
        path.write_text("0")
        self.env["CLOCK"] = str(path)
        self.app.close()
        self.app = self._client(ClockSetByHand(path))
        return path

    def worker(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        app: str = "tasks",
        program: str = "umbel",
    ) -> Tree:
        """A worker process and what it forks."""
        given = arguments if "-c" in arguments else ("-c", str(CONCURRENCY), *arguments)
        return self.start("worker", *given, env=env, app=app, program=program)

    def start(
        self,
        command: str,
        *arguments: str,
        env: dict[str, str] | None = None,
        app: str = "tasks",
        program: str = "umbel",
    ) -> Tree:
        """Whatever the command line starts."""
        given = {**self.env, **(env or {})}
        tree = Tree(self.folder, *arguments, env=given, app=app, command=command, program=program)
        self.trees.append(tree)
        return tree

    def repeats(self) -> Repeats:
        """Why tasks ran again, with what is known by now of who died."""
        runs = self.ledger.runs()
        accounts = self._bury_the_dead()
        counts = Counter(run.number for run in runs)
        for number, sender in self.sent_by.items():
            accounts.sent_again[number] += max(0, counts[sender] - 1)
        return accounts.repeats(runs)

    def repeats_of_tries(self) -> Repeats:
        """Of tasks that are tried again: who runs a try again sends the next one again."""
        runs = self.ledger.runs("try", "tried")
        accounts = self._bury_the_dead()
        counts = Counter(run.number for run in runs)
        for number in counts:
            accounts.sent_again[number] = max(0, counts[number - 1] - 1)
        return accounts.repeats(runs)

    def _bury_the_dead(self) -> Accounts:
        accounts = replace(
            self.accounts,
            strikes=[*self.accounts.strikes],
            sent_again=Counter(self.accounts.sent_again),
        )
        for tree in self.trees:
            if tree.killed is not None:
                begin, end = tree.killed
                accounts.died(group=tree.process.pid, begin=begin, end=end)
            elif (tree.process.poll() or 0) < 0:
                # It has killed itself.
                last = self.ledger.seen(tree.process.pid)
                accounts.died(group=tree.process.pid, begin=last, end=math.inf)
        return accounts

    def starts(self) -> int:
        """How many runs have begun."""
        return self.ledger.total("start")


class Fleet:
    """Workers that are started again when they have died, as a service manager does it."""

    def __init__(
        self,
        site: Site,
        size: int = 1,
        *arguments: str,
        app: str = "tasks",
        program: str = "umbel",
    ) -> None:
        self._make: Callable[[], Tree] = lambda: site.worker(*arguments, app=app, program=program)
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
        stack.callback(lambda: site.app.close())
        yield site
