"""``celery.contrib.migrate``: moving tasks that wait, one by one, by what they are.

::

    from umbel.contrib.migrate import move, move_by_taskmap

    move_by_taskmap({"feed.import": "imports"})
    move(lambda body, message: body["retries"] > 3, routing_key="slow")

Functions that choose are called with a *body*, a mapping with ``task``, ``id``, ``args``,
``kwargs``, ``retries`` and the other headers, and a *message*. Tasks that are not due yet stay
where they are. To carry whole queues, :mod:`umbel.app.operating.moving` is faster.

Source:
    Celery reference, ``celery.contrib.migrate``: names, arguments, who is called with what.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from umbel.app.connecting.messaging import Connection, Producer
from umbel.app.current import app_or_default
from umbel.app.sending.producer import PublishPolicy
from umbel.contrib.waiting import Body, Carried, Reader, State, StopFiltering
from umbel.exceptions import UmbelError
from umbel.model import Queue
from umbel.serialization.registry import content_types
from umbel.serialization.shapes import is_dict, is_list
from umbel.utils.nodenames import worker_direct
from umbel.utils.text import str_to_list

if TYPE_CHECKING:
    from umbel.app.base import Umbel

__all__ = [
    "State",
    "StopFiltering",
    "expand_dest",
    "filter_status",
    "migrate_task",
    "migrate_tasks",
    "move",
    "move_by_idmap",
    "move_by_taskmap",
    "move_direct",
    "move_direct_by_id",
    "move_direct_by_idmap",
    "move_direct_by_taskmap",
    "move_task_by_id",
    "prepare_queues",
    "republish",
    "start_filter",
    "task_id_eq",
    "task_id_in",
]

Filter = Callable[["Body", "Carried"], object]


def republish(
    producer: Producer,
    message: Carried,
    exchange: Any = None,
    routing_key: str | None = None,
    remove_props: Sequence[str] | None = None,
) -> None:
    """Publish a message once more, as it is.

    Args:
        exchange: None: the one it came by.
        routing_key: None: the one it came with.
        remove_props: Properties that are left out.
    """
    name = getattr(exchange, "name", exchange)
    sent = msgspec.structs.replace(
        message.message,
        exchange=message.message.exchange if name is None else name,
        routing_key=message.message.routing_key if routing_key is None else routing_key,
        properties={
            key: value
            for key, value in message.message.properties.items()
            if key not in (remove_props or ())
        },
    )
    app = producer.connection.app
    app.portal.call(app.producer.publish, [sent], PublishPolicy.of(False, None))


def migrate_task(
    producer: Producer, body_: Any, message: Carried, queues: Mapping[str, str] | None = None
) -> None:
    """Publish a message to another broker.

    Args:
        queues: What exchanges and routing keys are called there, if otherwise.
    """
    way, names = message.delivery_info, queues or {}
    republish(producer, message, names.get(way["exchange"]), names.get(way["routing_key"]))


def migrate_tasks(
    source: Any,
    dest: Any,
    migrate: Callable[..., object] = migrate_task,
    app: Umbel | None = None,
    queues: Any = None,
    **kwargs: Any,
) -> State:
    """Publish what waits at one broker to another one.

    Args:
        source: A URL, or a connection; as ``dest``.
        migrate: Called with a producer, a body, a message, and ``queues``.
        queues: Which: names, or names with what they are called there, as in ``mail:post``;
            None: those of the app.
        kwargs: As for :func:`start_filter`; ``ack_messages=True`` takes the messages away.
    """
    app = app_or_default(app)
    names = prepare_queues(queues)
    with _connected(app, dest) as there:
        producer = Producer(there)

        def declare(queue: Queue) -> None:
            made = app.router.select([names.get(queue.name, queue.name)])
            there.app.portal.call(_declare, there.app, made)

        kwargs.setdefault("on_declare_queue", declare)
        to_there = partial(migrate, producer, queues=names)
        return start_filter(app, source, to_there, queues=names, **kwargs)


def move(
    predicate: Filter,
    connection: Any = None,
    exchange: Any = None,
    routing_key: str | None = None,
    source: Sequence[Any] | None = None,
    app: Umbel | None = None,
    callback: Callable[[State, Body, Carried], object] | None = None,
    limit: int | None = None,
    transform: Callable[[Any], Any] | None = None,
    **kwargs: Any,
) -> State:
    """Move the tasks that ``predicate`` chooses, each once: also where queues that they go to are
    read.

    Args:
        predicate: Gives a queue, or a pair of exchange and routing key, to move the message there;
            anything else that is true, to move it to ``exchange`` and ``routing_key``.
        source: Queues, or their names; None: those of the app.
        callback: Called after each move.
        limit: Most moves.
        transform: Makes something else of what ``predicate`` gives.
        kwargs: As for :func:`start_filter`.
    """
    app = app_or_default(app)
    state: State = kwargs.setdefault("state", State())
    with _connected(app, connection) as connected:
        producer = Producer(connected)
        moved: set[tuple[str, Any]] = set()

        def consider(body: Body, message: Carried) -> None:
            chosen = predicate(body, message)
            if not chosen:
                return
            to = transform(chosen) if transform else chosen
            if isinstance(to, Queue):
                connected.app.portal.call(_declare, connected.app, [to])
                way = connected.app.router.route(queue=to)
            else:
                way = expand_dest(to, exchange, routing_key)
                if way[0] is None and way[1] is None:
                    raise ValueError(
                        f"cannot move {body['task']}[{body['id']}]: it is not said where to. Give "
                        "an exchange or routing_key, or let the predicate return a queue."
                    )
            if (message.message.id, way) in moved:
                # It went where it is read from: again and again, if nobody takes it there.
                return
            moved.add((message.message.id, way))
            republish(producer, message, *way)
            message.ack()
            state.filtered += 1
            if callback:
                callback(state, body, message)
            if limit and state.filtered >= limit:
                raise StopFiltering

        return start_filter(app, connected, consider, consume_from=source, **kwargs)


def start_filter(
    app: Umbel,
    conn: Any,
    filter: Filter,
    limit: int | None = None,
    timeout: float = 1.0,
    ack_messages: bool = False,
    tasks: str | Collection[str] | None = None,
    queues: Any = None,
    callback: Callable[[State, Body, Carried], object] | None = None,
    forever: bool = False,
    on_declare_queue: Callable[[Queue], object] | None = None,
    consume_from: Sequence[Any] | None = None,
    state: State | None = None,
    accept: Collection[str] | None = None,
    **_kwargs: Any,
) -> State:
    """Call ``filter`` with what waits.

    Messages that are no tasks are left where they are.

    Args:
        limit: Most messages.
        timeout: Seconds without a message after which it is done.
        ack_messages: Whether the messages are taken away from their queues.
        tasks: Only tasks of these names.
        queues: The queues, as for :func:`migrate_tasks`; ``consume_from`` wins.
        callback: Called with the state, too, after ``filter``.
        forever: Whether it goes on when there is nothing left.
        on_declare_queue: Called with each queue first.
        consume_from: Queues, or their names.
        accept: What bodies may be written in; None: what the app accepts.
    """
    state = state or State()
    kinds = None if accept is None else content_types(accept)
    wanted = set(str_to_list(tasks) if isinstance(tasks, str) else tasks or ())
    named = builtins.list(consume_from or prepare_queues(queues)) or None
    chosen = _queues(app, named)
    if on_declare_queue is not None:
        for queue in chosen:
            on_declare_queue(queue)

    def look(message: Carried) -> None:
        try:
            body = Body(app, message.delivery, kinds)
        except UmbelError:
            return
        if wanted and body["task"] not in wanted:
            return
        state.count += 1
        filter(body, message)
        message.acknowledged |= ack_messages
        if callback is not None:
            callback(state, body, message)

    with _connected(app, conn) as connected:
        names = [queue.name for queue in chosen]
        reader = Reader(connected.app, names, None if forever else timeout)
        reader.run(look, state, limit)
    return state


def expand_dest(ret: Any, exchange: Any, routing_key: str | None) -> tuple[Any, Any]:
    """A pair of exchange and routing key as it is; those that are given, for anything else."""
    if is_list(ret) and len(ret) == 2:
        return ret[0], ret[1]
    return exchange, routing_key


def task_id_eq(task_id: str, body: Mapping[str, Any], message: Any) -> bool:
    """Whether it is the task of that id."""
    return bool(body["id"] == task_id)


def task_id_in(ids: Collection[str], body: Mapping[str, Any], message: Any) -> bool:
    """Whether it is one of these tasks."""
    return body["id"] in ids


def prepare_queues(queues: Any) -> dict[str, str]:
    """What queues are called elsewhere.

    >>> prepare_queues("mail:post,web")
    {'mail': 'post', 'web': 'web'}
    """
    if isinstance(queues, str):
        queues = queues.split(",")
    if is_dict(queues):
        return dict(queues)
    pairs = [str(each).partition(":") for each in queues or ()]
    return {name: to or name for name, _, to in pairs}


def move_task_by_id(task_id: str, dest: Any, **kwargs: Any) -> State:
    """Move one task; ``dest`` is a queue or its name. Arguments as for :func:`move`."""
    return move_by_idmap({task_id: dest}, **kwargs)


def move_by_idmap(map: Mapping[str, Any], **kwargs: Any) -> State:
    """Move tasks to the queues that ``map`` has for their ids; done when all were found."""

    def choose(body: Body, message: Carried) -> Any:
        return map.get(body["id"])

    return move(choose, limit=len(map), **_to_queues(kwargs))


def move_by_taskmap(map: Mapping[str, Any], **kwargs: Any) -> State:
    """Move tasks to the queues that ``map`` has for their names."""

    def choose(body: Body, message: Carried) -> Any:
        return map.get(body["task"])

    return move(choose, **_to_queues(kwargs))


def filter_status(state: State, body: Mapping[str, Any], message: Any, **_kwargs: Any) -> None:
    """Print which task is moved; a ``callback``."""
    print(f"Moving task {state.filtered}/{state.strtotal}: {body['task']}[{body['id']}]")  # noqa: T201 - what it is for


move_direct = partial(move, transform=worker_direct)
move_direct_by_id = partial(move_task_by_id, transform=worker_direct)
move_direct_by_idmap = partial(move_by_idmap, transform=worker_direct)
move_direct_by_taskmap = partial(move_by_taskmap, transform=worker_direct)


def _to_queues(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A name stands for a queue, where nothing else is made of it."""
    app = app_or_default(kwargs.get("app"))
    named = kwargs.get("transform")
    if named is None:
        kwargs["transform"] = partial(_queue, app)
    return kwargs


def _queue(app: Umbel, to: Any) -> Any:
    return app.router.select([to])[0] if isinstance(to, str) else to


def _queues(app: Umbel, named: Sequence[Any] | None) -> list[Queue]:
    if named is None:
        return app.router.select(None)
    return [each if isinstance(each, Queue) else app.router.select([each])[0] for each in named]


@contextmanager
def _connected(app: Umbel, given: Any) -> Generator[Connection]:
    """A connection as it is; one to that URL, or to the app's broker, which is closed then."""
    if isinstance(given, Connection):
        yield given
        return
    made = Connection(given, app=app)
    try:
        yield made
    finally:
        if made.app is not app:
            made.app.close()


async def _declare(app: Umbel, queues: Sequence[Queue]) -> None:
    broker = await app.connections.broker()
    await broker.declare(queues)
