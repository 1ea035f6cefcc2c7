"""``app.backend``, and result backends made for Celery."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from umbel import Umbel
from umbel.app.backends import Backend, DisabledBackend, KeyValueStoreBackend
from umbel.app.backends.finding import by_name, by_url
from umbel.exceptions import (
    BackendStoreError,
    ChordError,
    ImproperlyConfigured,
    TaskRevokedError,
)
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.execution.context import Context
from umbel.result import AsyncResult, GroupResult


class Shelved(KeyValueStoreBackend):
    """Keeps results in the class."""

    shelf: ClassVar[dict[Any, Any]] = {}

    def get(self, key: Any) -> Any:
        return self.shelf.get(key)

    def set(self, key: Any, value: Any) -> None:
        self.shelf[key] = value

    def delete(self, key: Any) -> None:
        self.shelf.pop(key, None)


class Flaky(Shelved):
    """Fails a number of times."""

    failures = 2

    def set(self, key: Any, value: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("away")
        super().set(key, value)

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        return isinstance(exc, OSError)

    def _sleep(self, seconds: float) -> None:
        assert 0 <= seconds <= 10


@pytest.fixture(params=["umbel's", "made for Celery"])
def app(request: pytest.FixtureRequest) -> Iterator[Umbel]:
    kind = None if request.param == "umbel's" else Shelved
    Shelved.shelf = {}
    with Umbel("app", broker="memory://backends", backend=kind, set_as_current=False) as app:
        yield app
        app.backend.delete("celery-task-meta-id-1")


def test_what_is_marked_is_what_results_say(app: Umbel) -> None:
    backend, result = app.backend, AsyncResult[Any]("id-1", app=app)
    assert (backend.get_state("id-1"), backend.task_result_exists("id-1")) == ("PENDING", False)

    backend.mark_as_started("id-1", pid=7)
    assert (result.state, result.info) == ("STARTED", {"pid": 7})
    backend.mark_as_retry("id-1", KeyError("a"))
    assert result.state == "RETRY"
    backend.mark_as_failure("id-1", KeyError("b"), traceback="Traceback: here")
    assert (result.state, repr(result.result)) == ("FAILURE", "KeyError('b')")
    assert backend.get_traceback("id-1") == "Traceback: here"
    backend.mark_as_done("id-1", {"a": 1}, request=Context(id="id-1", task="t"))
    assert AsyncResult[Any]("id-1", app=app).get(timeout=60) == {"a": 1}
    assert backend.get_result("id-1") == {"a": 1}
    assert backend.wait_for("id-1", timeout=5)["status"] == "SUCCESS"

    backend.forget("id-1")
    assert backend.get_state("id-1") == "PENDING"
    with pytest.raises(ResultTimeout):
        backend.wait_for("id-1", timeout=0.01, interval=0.01)


def test_what_is_revoked_says_why(app: Umbel) -> None:
    app.backend.mark_as_revoked("id-1", "too late")

    assert app.backend.get_state("id-1") == "REVOKED"
    assert isinstance(app.backend.get_result("id-1"), TaskRevokedError)


def test_documents_are_read_by_their_keys(app: Umbel) -> None:
    backend = app.backend
    backend.store_result("id-1", [1], "SUCCESS")
    key = backend.get_key_for_task("id-1")

    [found, missing] = backend.mget([key, backend.get_key_for_task("id-2")])

    assert key == b"celery-task-meta-id-1"
    assert backend.decode_result(found)["result"] == [1]
    assert backend.decode_result(backend.get(key))["status"] == "SUCCESS"
    assert missing is None
    assert [id_ for id_, _ in backend.get_many(["id-1"], timeout=5)] == ["id-1"]


def test_groups_are_saved_restored_and_deleted(app: Umbel) -> None:
    group = GroupResult(
        "g", [AsyncResult[Any]("a", app=app), AsyncResult[Any]("b", app=app)], app=app
    )
    app.backend.save_group("g", group)

    restored = app.backend.restore_group("g", cache=False)
    assert [each.id for each in restored.results] == ["a", "b"]
    app.backend.delete_group("g")
    assert app.backend.restore_group("g") is None


def test_exceptions_and_values_survive_their_encoding(app: Umbel) -> None:
    backend = app.backend
    kept = backend.prepare_exception(ValueError("no", 3))

    assert kept == {"exc_type": "ValueError", "exc_message": ["no", 3], "exc_module": "builtins"}
    assert repr(backend.exception_to_python(kept)) == "ValueError('no', 3)"
    assert backend.exception_to_python(None) is None
    with pytest.raises(ValueError, match="without a name"):
        backend.exception_to_python({"exc_message": "x"})
    assert backend.decode(backend.encode({"ü": [1]})) == {"ü": [1]}
    assert backend.prepare_value(AsyncResult("a", app=app)) == (("a", None), None)


def test_each_thread_has_a_backend_of_its_own_unless_they_can_share_one(app: Umbel) -> None:
    seen: list[Any] = []
    for threads_share in (False, True):
        app.conf.result_backend_thread_safe = threads_share
        seen.append(app.backend)
        thread = threading.Thread(target=lambda: seen.append(app.backend))
        thread.start()
        thread.join()

    assert seen[0] is not seen[1]
    assert seen[2] is seen[3] is app.backend


def test_the_backend_of_a_result_is_the_apps(app: Umbel) -> None:
    assert AsyncResult("a", app=app).backend is app.backend
    assert AsyncResult("a", backend="given", app=app).backend == "given"


def test_an_app_without_results_has_a_disabled_backend() -> None:
    app = Umbel("app", broker="memory://", backend="disabled", set_as_current=False)

    assert isinstance(app.backend, DisabledBackend)
    with pytest.raises(NotImplementedError, match="No result backend is configured"):
        app.backend.get_state("a")


def test_what_may_be_tried_again_is_if_the_settings_say_so() -> None:
    app = Umbel("app", broker="memory://", backend=Flaky, set_as_current=False)
    with pytest.raises(OSError, match="away"):
        app.backend.store_result("a", 1, "SUCCESS")

    app.conf.result_backend_always_retry = True
    app.backend.store_result("a", 1, "SUCCESS")
    assert app.backend.get_result("a") == 1

    app.conf.result_backend_max_retries = 1
    app.backend.failures = 3
    with pytest.raises(BackendStoreError, match="failed to store result on the backend"):
        app.backend.store_result("b", 1, "SUCCESS")


def test_backends_are_found_by_class_path_url_or_as_the_settings_call_them() -> None:
    app = Umbel("app", broker="memory://", set_as_current=False)
    app.conf.override_backends = {"mine": f"{__name__}:Shelved"}

    assert by_name(Shelved) is Shelved
    assert by_url(f"{__name__}.Shelved") == (Shelved, None)
    assert by_url("mine://there/x", app.loader) == (Shelved, "mine://there/x")
    assert by_url("mine+other://there", app.loader) == (Shelved, "other://there")
    assert by_name("disabled") is DisabledBackend
    with pytest.raises(ImproperlyConfigured, match="Unknown result backend: 'nothing'"):
        by_name("nothing")
    with pytest.raises(ImproperlyConfigured, match="is a Python module"):
        by_name("json")

    app.conf.result_backend = "mine"
    assert type(app.backend) is Shelved
    assert app.backend_url == "mine"


def test_a_url_of_a_store_that_umbel_has_not_is_refused_with_those_it_has() -> None:
    app = Umbel("app", broker="memory://", backend="mongodb://there", set_as_current=False)

    with pytest.raises(ImproperlyConfigured, match=r"no driver serves 'mongodb://there'"):
        app.make_backend()


def test_a_backend_can_be_pickled_and_belongs_to_the_current_app_then() -> None:
    app = Umbel("app", broker="memory://", backend=Shelved)
    try:
        assert pickle.loads(pickle.dumps(app.backend)).app is app
    finally:
        app.close()


def test_the_body_of_a_chord_can_be_failed(app: Umbel) -> None:
    @app.task(name="body")
    def body(numbers: list[int]) -> None: ...

    signature = body.s().set(task_id="id-1")
    app.backend.chord_error_from_stack(signature, ChordError("Dependency a raised KeyError()"))

    assert app.backend.get_state("id-1") == "FAILURE"
    assert "Dependency a raised" in str(app.backend.get_result("id-1"))


def test_what_a_subclass_must_give_is_asked_for_by_name() -> None:
    backend = Backend(Umbel("app", broker="memory://", set_as_current=False))

    with pytest.raises(NotImplementedError, match="_store_result"):
        backend.store_result("a", 1, "SUCCESS")
    with pytest.raises(NotImplementedError, match="_get_task_meta_for"):
        backend.get_task_meta("a")


def test_keys_of_ones_own_are_redis_pys_business() -> None:
    elsewhere = Umbel("elsewhere", broker="memory://elsewhere", set_as_current=False)
    there = Umbel(
        "there", broker="memory://there", backend="redis://example:6390/3", set_as_current=False
    )

    assert not hasattr(elsewhere.backend, "client")
    with pytest.raises(ValueError, match=r"app\.backend\.client"):
        there.backend.set("my-key", b"v")
    client = there.backend.client
    assert client is there.backend.client
    assert client.connection_pool.connection_kwargs["host"] == "example"
    assert client.connection_pool.connection_kwargs["db"] == 3
