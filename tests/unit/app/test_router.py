"""What an app makes of its routes: when they are asked, what wins, and what is declared."""

from __future__ import annotations

from typing import Any

import pytest

from umbel import Broadcast, Exchange, Queue, Umbel
from umbel.exceptions import ImproperlyConfigured, QueueNotFound
from umbel.model import Binding

from .conftest import MakeApp, Shop


def add(x: int = 0, y: int = 0) -> int:
    return x + y


def ways(app: Shop) -> list[tuple[str, str]]:
    return [(message.exchange, message.routing_key) for message in app.sent]


def test_every_way_of_calling_is_routed(make_app: MakeApp) -> None:
    app = make_app(task_routes={"add": "slow", "far.*": "away"})
    task = app.task(name="add")(add)
    task.delay(1)
    task.apply_async((1,))
    task.apply_many([(1,), (2,)])
    task.s(1).apply_async()
    app.send_task("add", (1,))
    app.send_task("far.away")
    app.send_many([task.s(1), {"task": "far.off", "args": [], "kwargs": {}}])

    assert [key for _, key in ways(app)] == ["slow"] * 6 + ["away", "slow", "away"]


def test_a_router_function_is_asked_at_every_call(make_app: MakeApp) -> None:
    told: list[Any] = []

    def by_size(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
        told.append((name, tuple(args), dict(kwargs), options.get("priority"), task))
        return {"queue": "big" if args and args[0] > 9 else "small", "priority": 4}

    app = make_app(task_routes=[by_size])
    task = app.task(name="add")(add)
    task.delay(1)
    task.apply_async((10,), {"y": 2}, priority=7)
    task.apply_many([(1,), (10,)])
    app.send_task("elsewhere")

    assert [key for _, key in ways(app)] == ["small", "big", "small", "big", "small"]
    assert [message.priority for message in app.sent] == [4, 7, 4, 4, 4]
    assert told[1] == ("add", (10,), {"y": 2}, 7, app.tasks["add"])
    assert told[4] == ("elsewhere", (), {}, None, None)


def test_a_router_that_fails_fails_the_call(make_app: MakeApp) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    app = make_app(task_routes=broken)
    with pytest.raises(ZeroDivisionError):
        app.task(name="add")(add).delay()
    app.conf.task_routes = {"add": {"eta": 1}}
    with pytest.raises(ImproperlyConfigured, match="'eta': a route says where"):
        app.tasks["add"].delay()


def test_routes_follow_the_configuration(make_app: MakeApp) -> None:
    app = make_app(task_routes={"add": "a"})
    task = app.task(name="add")(add)
    task.delay()
    app.conf.task_routes = {"add": "b"}
    task.delay()
    app.conf.task_routes = None
    task.delay()

    assert [key for _, key in ways(app)] == ["a", "b", "celery"]


def test_what_a_route_says_beyond_the_way_becomes_properties(make_app: MakeApp) -> None:
    app = make_app(task_routes={"add": {"queue": "q", "app_id": "shop", "expiration": 2.5}})
    now = app.wall_clock.time()
    task = app.task(name="add")(add)
    task.delay()
    task.apply_async(expiration=60, app_id="mine")
    first, second = app.sent

    assert first.properties == {"app_id": "shop", "expiration": "2500"}
    assert second.properties == {"app_id": "mine", "expiration": "60000"}
    assert first.expires_at == pytest.approx(now + 2.5, abs=1)
    assert second.expires_at == pytest.approx(now + 60, abs=1)


def test_the_default_queue_has_the_default_exchange_key_and_type(make_app: MakeApp) -> None:
    app = make_app(
        task_default_queue="dq",
        task_default_exchange="dx",
        task_default_exchange_type="topic",
        task_default_routing_key="d.k",
        task_default_queue_type="quorum",
        task_queue_max_priority=9,
    )

    assert app.queues() == [
        Queue(
            "dq",
            Exchange("dx", "topic"),
            "d.k",
            max_priority=9,
            queue_arguments={"x-queue-type": "quorum"},
        )
    ]


def test_selected_queues_are_made_and_excluded_ones_left_out(make_app: MakeApp) -> None:
    app = make_app(
        task_queues=[Queue("a"), Queue("b"), Broadcast("everyone", queue="mine")],
        task_create_missing_queue_type="quorum",
        task_create_missing_queue_exchange_type="topic",
    )
    made = Queue("new", Exchange("new", "topic"), "new", queue_arguments={"x-queue-type": "quorum"})

    assert [queue.name for queue in app.queues()] == ["a", "b", "mine"]
    assert [queue.name for queue in app.queues(exclude=["b", "everyone"])] == ["a"]
    assert [queue.name for queue in app.queues(["everyone", "b", "b"])] == ["mine", "b"]
    assert app.queues(["new", "a"], exclude=["a"]) == [made]
    assert [queue.name for queue in app.queues()] == ["a", "b", "mine"]


def test_no_queue_is_made_where_that_is_switched_off(make_app: MakeApp) -> None:
    app = make_app(task_queues=[Queue("a")], task_create_missing_queues=False)

    with pytest.raises(QueueNotFound, match="'b' is not defined in task_queues"):
        app.queues(["b"])
    with pytest.raises(QueueNotFound, match="'celery' is not defined"):
        app.send_task("anything")


def test_queues_may_be_added_selected_and_deselected(make_app: MakeApp) -> None:
    queues = make_app().amqp.queues
    queues.add("logs", exchange="log", exchange_type="topic", routing_key="log.#")
    queues.add(Queue("plain"))
    assert list(queues.consume_from) == ["celery"]
    queues.select_add("extra")
    assert list(queues.consume_from) == ["celery", "extra"]
    queues.deselect("celery")
    queues.select(["logs", "plain"])

    assert list(queues.consume_from) == ["logs", "plain"]
    assert queues["logs"] == Queue("logs", Exchange("log", "topic"), "log.#")
    assert queues.format(indent=1).splitlines() == [
        " .> logs             exchange=log(topic) key=log.#",
        " .> plain            exchange=celery(direct) key=celery",
    ]


def test_selecting_queues_outlives_a_change_of_other_settings(make_app: MakeApp) -> None:
    app = make_app()
    app.select_queues(["mine"])
    app.conf.task_default_priority = 3

    assert [queue.name for queue in app.queues()] == ["mine"]


def test_the_exchange_of_a_queue_that_is_made_may_be_chosen(make_app: MakeApp) -> None:
    app = make_app()
    app.amqp.autoexchange = lambda name: Exchange(f"{name}-x", "topic")
    app.task(name="add")(add).apply_async(queue="new")

    assert ways(app) == [("new-x", "new")]


def test_the_facade_shows_what_the_router_has(make_app: MakeApp) -> None:
    app = make_app(task_routes={"a": "q"}, task_default_queue="dq")
    amqp = app.amqp
    amqp.queues = [Queue("only")]

    assert list(amqp.queues) == ["only"]
    assert (amqp.default_queue.name, amqp.default_exchange.name, amqp.utc) == ("dq", "dq", True)
    assert amqp.routes.find("a") == amqp.router.routes.find("a") == {"queue": "q"}
    assert amqp.router.lookup_route("b") is None
    assert list(amqp.Queues(["x"], create_missing=False)) == ["x"]
    assert amqp.router.queues is amqp.queues
    amqp.flush_routes()
    assert amqp.Queue is Queue


@pytest.mark.parametrize(
    ("configured", "queue"),
    [
        ({"m": {}}, Queue("m", Exchange("celery"), "m")),
        ({"m": {"exchange": "x", "exchange_type": "topic", "binding_key": "m.#"}},
         Queue("m", Exchange("x", "topic"), "m.#")),
        ({"m": {"durable": False, "queue_expires": 5, "delivery_mode": "transient",
                "exchange": "x", "no_ack": True}},
         Queue("m", Exchange("x", delivery_mode=1), "m", durable=False, expires=5,
               no_ack=True)),
        ({"m": Queue("m", routing_key="k")}, Queue("m", Exchange("celery"), "k")),
        ({"m": {"bindings": [Binding(Exchange("y"), "2"), Binding(Exchange("y"), "1")]}},
         Queue("m", Exchange("celery"), "m",
               bindings=(Binding(Exchange("y"), "1"), Binding(Exchange("y"), "2")))),
        (["m"], Queue("m", Exchange("celery"), "m")),
    ],
)  # fmt: skip
def test_queues_are_configured_in_many_forms(configured: Any, queue: Queue) -> None:
    assert Umbel(set_as_current=False, task_queues=configured).queues() == [queue]


@pytest.mark.parametrize(
    ("configured", "sentence"),
    [
        ({"m": {"exchnge": "x"}}, "the queue 'm' in task_queues has the option 'exchnge'; queues"),
        ([5], "5 is not a queue"),
    ],
)
def test_what_is_no_queue_is_refused_by_name(configured: Any, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=sentence):
        Umbel(set_as_current=False, task_queues=configured).queues()


async def test_a_bound_queue_exists_before_its_first_message() -> None:
    app = Umbel(
        broker="memory://bound-before",
        set_as_current=False,
        task_queues=[Queue("logs", Exchange("log", "topic"), "log.#")],
        task_routes={"log.*": "logs"},
    )
    await app.asend_task("log.error", routing_key="log.error")
    broker = await app.connections.broker()

    assert (await broker.stats(["logs"]))["logs"].ready == 1
    assert app.router.undeclared == {}
    await app.aclose()
