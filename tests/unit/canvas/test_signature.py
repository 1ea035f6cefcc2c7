"""Signatures: the same values, and the same form, as Celery's."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from typing import Any

import celery
import celery.canvas
import pytest

from umbel.canvas import Signature, maybe_signature, signature
from umbel.canvas import chain as umbel_chain
from umbel.canvas import group as umbel_group
from umbel.canvas.sender import send_through
from umbel.exceptions import ImproperlyConfigured
from umbel.serialization import json as umbel_json


class Sent:
    """A result, as far as signatures care."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def get(self) -> str:
        return "value"


class Task:
    """A task, as far as signatures care."""

    name = "tasks.add"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    def apply_async(self, args: Any, kwargs: Any, **options: Any) -> Any:
        return Sent("task", args, kwargs, options)

    def apply(self, args: Any, kwargs: Any, **options: Any) -> Any:
        return Sent("here", args, kwargs, options)


class App:
    """An app, as far as signatures care."""

    oid = "oid-1"
    connections = portal = codec = None

    def __init__(self) -> None:
        self.tasks = {"tasks.add": Task()}

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        return Sent(name, args, kwargs, options)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def theirs() -> Any:
    return celery.Celery("peer", broker="memory://", set_as_current=False)


def pair(app: Any, theirs: Any, *args: Any, **kwargs: Any) -> tuple[Signature, Any]:
    return signature(*args, app=app, **kwargs), theirs.signature(*args, **kwargs)


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("tasks.add",), {}),
    (("tasks.add", (1, 2)), {}),
    (("tasks.add",), {"args": [1], "kwargs": {"y": 2}, "countdown": 4, "immutable": True}),
    (("tasks.add",), {"options": {"queue": "q"}, "expires": 3}),
    (({"task": "tasks.add", "args": [1], "kwargs": {}, "options": {"link": [1]}},), {}),
]


@pytest.mark.parametrize(("args", "kwargs"), CALLS)
def test_a_signature_has_celerys_form(app: Any, theirs: Any, args: Any, kwargs: Any) -> None:
    mine, peer = pair(app, theirs, *args, **kwargs)

    assert dict(mine) == dict(peer)
    assert repr(mine) == repr(peer)
    assert json.loads(json.dumps(mine)) == json.loads(json.dumps(peer))
    assert umbel_json.loads(umbel_json.dumps(mine)) == json.loads(json.dumps(peer))


def test_each_side_reads_what_the_other_wrote(app: Any, theirs: Any) -> None:
    mine, peer = pair(app, theirs, "tasks.add", (1,), {"y": 2}, countdown=3)

    assert signature(json.loads(json.dumps(peer)), app=app).clone((0,)) == theirs.signature(
        json.loads(json.dumps(mine))
    ).clone((0,))


EDITS = [
    lambda sig: sig.clone((0,), {"y": 9}, queue="q"),
    lambda sig: sig.clone(group_id="other", stamped_headers=["b"]),
    lambda sig: sig.replace(args=(9,)),
    lambda sig: sig.replace(kwargs={"z": 1}, options={"a": 1}),
    lambda sig: sig.set(immutable=True, queue="q"),
    lambda sig: sig.set(countdown=3, priority=None),
    lambda sig: (
        (sig.append_to_list_option("link", "a"), sig.append_to_list_option("link", "a")) and sig
    ),
    lambda sig: sig.extend_list_option("link", ["a", "b"]) or sig,
    lambda sig: (sig.link({"task": "a"}), sig.link_error({"task": "b"})) and sig,
    lambda sig: sig.on_error({"task": "b"}),
    copy.copy,
    lambda sig: pickle.loads(pickle.dumps(sig)),
]


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("immutable", [False, True])
def test_a_changed_signature_is_as_celerys(
    app: Any, theirs: Any, edit: Any, immutable: bool
) -> None:
    form = {
        "task": "tasks.add",
        "args": (1,),
        "kwargs": {"y": 2, "z": 3},
        "options": {"group_id": "g", "stamped_headers": ["a"], "countdown": 1},
        "subtask_type": None,
        "immutable": immutable,
    }
    mine, peer = pair(app, theirs, copy.deepcopy(form))

    assert dict(edit(mine)) == dict(edit(peer))
    assert dict(mine) == dict(peer)


@pytest.mark.parametrize("options", [{}, {"group_id": "g", "root_id": "r", "parent_id": "p"}])
def test_freezing_fixes_the_id_and_the_place(app: Any, theirs: Any, options: Any) -> None:
    mine, peer = pair(app, theirs, "tasks.add", (1,))

    result = mine.freeze("id-1", **options)
    peer.freeze("id-1", **options)
    peer.options["reply_to"] = "oid-1"

    assert result.id == mine.id == "id-1"
    assert dict(mine) == dict(peer)
    assert (mine.root_id, mine.parent_id) == (options.get("root_id"), options.get("parent_id"))
    assert mine.freeze("other").id == "id-1"
    assert len(signature("tasks.add", app=app).freeze().id) == 36


def test_a_clone_shares_no_containers(app: Any) -> None:
    original = signature("tasks.add", (1,), {"y": 1}, app=app, link=[{"task": "a"}])

    clone = original.clone()
    clone.kwargs["y"] = 2
    clone.link({"task": "b"})
    clone.set(queue="q")

    assert original.kwargs == {"y": 1}
    assert original.options == {"link": [{"task": "a"}]}


def test_sending_completes_the_call(app: Any) -> None:
    partial = signature("tasks.add", (2,), {"y": 1}, app=app, countdown=3)

    assert partial.delay(1, z=2).call == (  # type: ignore[attr-defined]  # see Sent
        "task",
        (1, 2),
        {"y": 1, "z": 2},
        {"countdown": 3},
    )
    assert partial.apply_async((), {"y": 5}, queue="q", priority=None).call == (  # type: ignore[attr-defined]
        "task",
        (2,),
        {"y": 5},
        {"countdown": 3, "queue": "q"},
    )
    assert partial.apply((0,)).call[:2] == ("here", (0, 2))
    assert partial(7) == ((7, 2), {"y": 1})
    assert ~partial == "value"


def test_an_immutable_signature_takes_options_only(app: Any) -> None:
    fixed = signature("tasks.add", (2,), app=app, immutable=True)

    assert fixed.apply_async((1,), {"y": 1}, queue="q").call == (  # type: ignore[attr-defined]
        "task",
        (2,),
        {},
        {"queue": "q"},
    )


def test_a_task_that_is_unknown_here_is_sent_by_name(app: Any) -> None:
    far = signature("far.task", (1,), app=app)

    assert far.delay(0).call == ("far.task", (0, 1), {}, {})  # type: ignore[attr-defined]
    with pytest.raises(KeyError):
        _ = far.type


def test_a_signature_of_a_task_belongs_to_the_tasks_app(app: Any) -> None:
    task: Any = Task()
    task.app = app

    sig = Signature(task, (1,))

    assert sig.app is app
    assert sig.type is task
    assert sig.name == sig.task == "tasks.add"
    assert copy.deepcopy(sig).app is app
    assert sig.clone().type is task


def test_a_signature_without_an_app_uses_the_current_one(app: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys.modules["umbel.canvas.sender"], "_default", None)
    lonely = signature("tasks.add")

    with pytest.raises(ImproperlyConfigured, match=r"tasks.add\(\) belongs to no app"):
        _ = lonely.app
    send_through(lambda: app)
    assert lonely.app is app


def test_maybe_a_signature(app: Any) -> None:
    sig = signature("tasks.add")

    assert maybe_signature(None) is None
    assert maybe_signature(5) == 5
    assert maybe_signature(sig, app) is sig
    assert sig.app is app
    assert maybe_signature(sig, clone=True) is not sig
    assert type(maybe_signature({"task": "a"}, app)) is Signature


def test_links_are_found_to_any_depth(app: Any) -> None:
    first, second, third = (signature(name, app=app) for name in ("a", "b", "c"))
    first.link(second)
    second.link(dict(third))

    assert [sig.task for sig in first.flatten_links()] == ["a", "b", "c"]


def test_fields_can_be_set(app: Any) -> None:
    sig = signature("tasks.add", app=app)

    sig.task, sig.args, sig.kwargs, sig.options, sig.immutable = "b", (1,), {"x": 1}, {"q": 1}, True

    assert dict(sig) == {
        "task": "b",
        "args": (1,),
        "kwargs": {"x": 1},
        "options": {"q": 1},
        "subtask_type": None,
        "immutable": True,
    }
    assert sig.__json__() == dict(sig)


@pytest.mark.parametrize("whole", [umbel_chain, umbel_group])
@pytest.mark.parametrize(
    ("wrong", "said"), [(Task(), "is a task, not a signature of it"), (3, "3 is none")]
)
def test_what_is_no_signature_cannot_be_a_part(whole: Any, wrong: Any, said: str) -> None:
    for parts in ((signature("a"), wrong), ([signature("a"), wrong],)):
        with pytest.raises(TypeError, match=said):
            whole(*parts)
