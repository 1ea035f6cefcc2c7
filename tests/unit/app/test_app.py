"""Apps: made without effort, finalized once, many at a time, from many threads."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from umbel import Celery, Umbel, current_app
from umbel.app import current
from umbel.exceptions import NotRegistered
from umbel.result import AsyncResult

from .conftest import MakeApp, Shop


def in_threads(count: int, work: Callable[[int], Any]) -> None:
    """Run ``work`` in several threads that start together; raises what one of them raised."""
    start, errors = threading.Barrier(count), []

    def one(number: int) -> None:
        start.wait(60)
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


def test_celery_is_the_same_class_under_its_familiar_name() -> None:
    assert Celery is Umbel


def test_making_an_app_reads_no_configuration_and_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "umbelconfig.py").write_text("raise RuntimeError('read too early')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "umbelconfig", raising=False)

    app = Umbel("lazy", broker="redis://127.0.0.1:1/0", set_as_current=False)

    @app.task
    def work() -> None: ...

    assert not app.finalized
    assert not app.portal.opened
    with pytest.raises(RuntimeError, match="read too early"):
        _ = app.conf.task_acks_late


def test_a_subclass_hears_that_it_has_been_made() -> None:
    class Mine(Umbel):
        heard = 0

        def on_init(self) -> None:
            self.heard += 1

    assert Mine("mine", set_as_current=False).heard == 1


def test_a_new_app_is_current_unless_it_says_otherwise() -> None:
    one = Umbel("one")
    Umbel("two", set_as_current=False)

    assert current_app == one
    assert current_app.main == "one"


def test_threads_that_made_no_app_see_the_first_one() -> None:
    current._current.app = current._default = None
    first = Umbel("first")
    Umbel("second")
    seen: list[Umbel] = []

    in_threads(1, lambda _: seen.append(current.get_current_app()))

    assert seen == [first]


def test_an_app_made_default_is_seen_by_threads_that_made_none() -> None:
    app = Umbel("chosen", set_as_current=False)
    app.set_default()
    seen: list[Umbel] = []

    in_threads(1, lambda _: seen.append(current.get_current_app()))

    assert seen == [app]


def test_threads_that_ask_for_an_app_nobody_made_get_one_and_the_same() -> None:
    current._current.app = current._default = None
    seen: list[Umbel] = []

    in_threads(8, lambda _: seen.append(current.get_current_app()))

    assert len(seen) == 8
    assert len({id(app) for app in seen}) == 1


def test_a_closed_app_is_no_longer_current() -> None:
    current._current.app = current._default = None
    first, second = Umbel("first"), Umbel("second")
    second.close()

    assert current.get_current_app() is first
    first.close()
    assert current.get_current_app() is not first


def test_touching_the_tasks_finalizes(app: Shop) -> None:
    assert not app.finalized
    _ = app.tasks
    assert app.finalized


def test_an_app_without_autofinalize_waits_for_finalize(make_app: MakeApp) -> None:
    app = make_app(autofinalize=False)
    with pytest.raises(RuntimeError, match="not finalized"):
        _ = app.tasks

    app.finalize()

    assert "celery.backend_cleanup" in app.tasks


def test_finalizing_twice_is_finalizing_once(app: Shop) -> None:
    told: list[Umbel] = []

    @app.on_after_finalize.connect(weak=False)
    def hear(app: Umbel, **_: object) -> None:
        told.append(app)

    app.finalize()
    app.finalize()

    assert told == [app]


def test_a_task_made_after_finalizing_is_there_at_once(app: Shop) -> None:
    app.finalize()

    @app.task(name="late")
    def late() -> None: ...

    assert app.tasks["late"] is late


def test_a_task_that_is_not_there_is_named(app: Shop) -> None:
    with pytest.raises(NotRegistered, match=r"no\.such\.task"):
        _ = app.tasks["no.such.task"]


def test_an_app_that_failed_to_finalize_says_so_again(
    app: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_shelf").mkdir()
    (tmp_path / "broken_shelf" / "__init__.py").write_text("")
    (tmp_path / "broken_shelf" / "tasks.py").write_text("raise LookupError('broken')")
    monkeypatch.syspath_prepend(tmp_path)
    app.autodiscover_tasks(["broken_shelf"])

    for _ in range(2):
        with pytest.raises(LookupError, match="broken"):
            app.finalize()
    assert not app.finalized


def test_apps_keep_their_settings_and_tasks_apart(make_app: MakeApp) -> None:
    one = make_app("one", task_serializer="json")
    two = make_app("two", task_serializer="pickle")

    @one.task(name="same")
    def mine() -> int:
        return 1

    @two.task(name="same")
    def yours() -> int:
        return 2

    mine.delay()
    yours.delay()

    assert one.tasks["same"]() == 1
    assert two.tasks["same"]() == 2
    assert one.letter.message.content_type == "application/json"
    assert two.letter.message.content_type == "application/x-python-serialize"


def test_the_repr_shows_class_main_name_and_address(make_app: MakeApp) -> None:
    app = make_app("shop")
    assert repr(app) == f"<Shop shop at {id(app):#x}>"
    assert repr(make_app(None)).startswith("<Shop __main__ at 0x")


def test_an_app_can_be_pickled_with_its_settings() -> None:
    app = Umbel("shop", broker="redis://h/1", task_acks_late=True, set_as_current=False)

    copy = pickle.loads(pickle.dumps(app))

    assert copy.main == "shop"
    assert copy.conf.broker_url == "redis://h/1"
    assert copy.conf.task_acks_late is True


def test_a_pickled_app_reads_the_configuration_that_the_first_one_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickled_conf.py").write_text("task_default_queue = 'own'\n")
    monkeypatch.syspath_prepend(tmp_path)
    app = Umbel("shop", set_as_current=False)
    app.config_from_object("pickled_conf")

    assert pickle.loads(pickle.dumps(app)).conf.task_default_queue == "own"


def test_a_pickled_task_is_the_task_of_its_own_app(make_app: MakeApp) -> None:
    app = make_app(set_as_current=True)

    @app.task(name="kept")
    def kept() -> None: ...

    assert pickle.loads(pickle.dumps(kept)) is kept


def test_threads_that_touch_an_app_at_once_see_it_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_app: MakeApp
) -> None:
    (tmp_path / "slow_conf.py").write_text(
        "import time\ntime.sleep(0.05)\ntask_default_queue = 'slow'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    app = make_app()
    app.config_from_object("slow_conf")
    made: list[AsyncResult[int]] = []
    finalized = []
    app.on_after_finalize.connect(lambda **_: finalized.append(1), weak=False)

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    def touch(number: int) -> None:
        if number % 3 == 0:
            assert app.conf.task_default_queue == "slow"
        elif number % 3 == 1:
            assert app.tasks["celery.backend_cleanup"]
        for n in range(50):
            made.append(add.delay(number, n))

    in_threads(9, touch)

    assert finalized == [1]
    assert {letter.id for letter in app.letters} == {result.id for result in made}
    assert len(app.sent) == 450
    assert {message.routing_key for message in app.sent} == {"slow"}


def test_threads_may_change_settings_while_others_send(app: Shop) -> None:
    @app.task(name="add")
    def add(x: int) -> int:
        return x

    def touch(number: int) -> None:
        for n in range(50):
            if number == 0:
                app.conf.task_default_queue = f"q{n % 2}"
            else:
                add.delay(n)

    in_threads(4, touch)

    assert len(app.sent) == 150
    assert {message.routing_key for message in app.sent} <= {"celery", "q0", "q1"}


def test_a_forked_child_sends_by_connections_of_its_own(app: Shop) -> None:
    @app.task(name="add")
    def add(x: int) -> int:
        return x

    add.delay(1)
    loop = app.portal._loop
    child = os.fork()
    if child == 0:
        add.delay(2)
        mine = [letter.body.args for letter in app.letters]
        other = app.portal._loop is not loop
        message, headers = app.sent[1], app.letters[1].headers
        itself = message.reply_to == app.oid and headers["origin"].startswith(f"gen{os.getpid()}@")
        app.close()
        os._exit(0 if mine == [[1], [2]] and other and itself else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    add.delay(3)

    assert [letter.body.args for letter in app.letters] == [[1], [3]]


def test_a_child_has_an_address_for_replies_of_its_own(app: Shop) -> None:
    mine, reader_writer = app.oid, os.pipe()
    child = os.fork()
    if child == 0:
        os.write(reader_writer[1], f"{app.oid} {app.origin}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    oid, origin = os.read(reader_writer[0], 300).decode().split()
    for end in reader_writer:
        os.close(end)

    assert app.oid == mine != oid
    assert origin.startswith(f"gen{child}@")


def test_the_context_manager_closes(make_app: MakeApp) -> None:
    with make_app() as app:

        @app.task(name="add")
        def add() -> None: ...

        add.delay()
        assert app.portal.opened
    assert not app.portal.opened
    add.delay()
    assert len(app.sent) == 2
