"""What a signature comes to: a tree of calls, with every id fixed. Pure.

Signatures are mutable dicts, because they are documented to be; they stop here. :func:`compile`
makes an immutable tree of one, in which the rules of Celery's canvas are applied: options have gone
to the calls that they are about, chains and groups in their like are flattened, a group that
something follows has become a chord. What of it is to be sent now, and in which form the rest
travels, is in :mod:`umbel.canvas.waves`.

Source:
    Celery user guide, "Canvas: Designing Work-flows"; what becomes of options, empty and
    single-member compositions: observed with Celery 5.7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Any

import msgspec

from umbel.exceptions import InvalidTaskError

__all__ = [
    "Call",
    "Chain",
    "Chord",
    "Group",
    "Node",
    "Rules",
    "any_chord",
    "checked",
    "compile",
    "ends",
    "ids_after",
    "is_mapping",
    "kind_of",
    "listed",
    "overlay",
    "part",
]

Options = Mapping[str, Any]
NewId = Callable[[], str]

_NOTHING: Options = {}
_PLACE = ("group_id", "group_index", "chord")
"""Where the task that ends a composition stands in the one around it."""
_OF_THE_END = frozenset({"task_id", "link", "chain", *_PLACE})
"""The options of a chain or chord that are about the task it ends in."""
_DELAYS = ("countdown", "eta")


class Call(msgspec.Struct, frozen=True, eq=False):
    """One task to call."""

    signature: Mapping[str, Any]
    """A plain dict, complete; its options say the ``task_id``."""

    @property
    def id(self) -> str:
        """The id the task will have."""
        found: str = self.signature["options"]["task_id"]
        return found


class Chain(msgspec.Struct, frozen=True, eq=False):
    """Two or more steps, each called with what the one before returned."""

    steps: tuple[Node, ...]


class Group(msgspec.Struct, frozen=True, eq=False):
    """Members to run at the same time."""

    id: str
    members: Iterable[Node]
    """A tuple; or an iterator, where they come from a generator that is read once."""
    is_placed: bool = False
    """Whether each member is by itself a member of a chord further out: so Celery sends them."""


class Chord(msgspec.Struct, frozen=True, eq=False):
    """A header of members, and the body to call with the list of their results."""

    id: str
    header: Iterable[Node]
    """As :attr:`Group.members`."""
    body: Node


Node = Call | Chain | Group | Chord


class Rules(msgspec.Struct, frozen=True):
    """What compiling depends on besides the signature."""

    new_id: NewId
    errbacks_on_headers: bool = False
    """``task_allow_error_cb_on_chord_header``."""


def compile(signature: Any, rules: Rules, given: Options = _NOTHING) -> Node | None:
    """The tree of a signature, or of the dict that one travels as; None when it is empty.

    Args:
        given: Options that win over its own, as those of ``apply_async``.

    Raises:
        InvalidTaskError: Something in it is not a signature.
    """
    plain = checked(signature)
    match kind_of(plain):
        case "chain":
            return _chain(plain, rules, given)
        case "group":
            rest = overlay(plain.get("options") or _NOTHING, given).get("chain")
            group = _group(plain, rules, given)
            return _as_chord(group, _chain_of(reversed(rest), rules)) if rest else group
        case "chord":
            return _chord(plain, rules, given)
        case "chunks":
            return _group(_chunked(plain), rules, given)
        case _:
            return _call(plain, rules, given)


def kind_of(plain: Mapping[str, Any]) -> str | None:
    """What kind of composition a signature is; None: a task."""
    kind: str | None = plain.get("subtask_type")
    return "chunks" if kind is None and plain["task"] == "celery.chunks" else kind


def ids_after(seed: str) -> NewId:
    """Ids that follow from another one, for what is made when that task ends.

    Whoever ends it once more makes the same ids, so that a repeat is recognisable as one.

    >>> first, again = ids_after("some task"), ids_after("some task")
    >>> [first(), first()] == [again(), again()]
    True
    """
    # Costs 5 ms to import; only where tasks end are ids made like this.
    import hashlib

    numbers = count()

    def new_id() -> str:
        text = f"{seed}:{next(numbers)}".encode("utf-8", "surrogatepass")
        digits = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        return (
            f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-"
            f"{'89ab'[int(digits[16], 16) & 3]}{digits[17:20]}-{digits[20:32]}"
        )

    return new_id


def overlay(own: Options, given: Options) -> dict[str, Any]:
    """The options of a signature, with those of whoever calls it: these win, except that a
    member stays in its group, stamps stay, and callbacks are added."""
    if not given:
        return dict(own)
    kept = ("group_id", *(own.get("stamped_headers") or ()))
    merged = dict(own)
    for name, value in given.items():
        if name in ("link", "link_error"):
            links = listed(merged.get(name))
            merged[name] = [*links, *(link for link in listed(value) if link not in links)]
        elif name == "stamped_headers":
            merged[name] = [*dict.fromkeys((*(merged.get(name) or ()), *(value or ())))]
        elif name not in kept or merged.get(name) is None:
            merged[name] = value
    return merged


def listed(value: Any) -> list[Any]:
    """What may be nothing, one signature or several, as a new list."""
    if value is None:
        return []
    return [*value] if isinstance(value, list | tuple) else [value]


def is_mapping(value: object) -> bool:
    """Whether a value is a mapping: as a signature, and as the dict that one travels as."""
    return isinstance(value, Mapping)


def part(whole: str, value: Any) -> Any:
    """What a chain or a group is to be made of, as it is.

    Raises:
        TypeError: It is no signature; most often a task that lacks its ``.s()``.
    """
    if is_mapping(value) or hasattr(value, "clone"):
        return value
    name = getattr(value, "__name__", "task")
    is_task = hasattr(value, "apply_async")
    found = f"{value!r} is a task, not a signature of it" if is_task else f"{value!r} is none"
    raise TypeError(f"a {whole} is made of signatures, as {name}.s(…) makes them; {found}.")


def checked(signature: Any) -> Mapping[str, Any]:
    """A signature as a mapping.

    Raises:
        InvalidTaskError: It is none.
    """
    if isinstance(signature, Mapping):
        found: Mapping[str, Any] = signature  # pyright: ignore[reportUnknownVariableType] - user values
        if isinstance(found.get("task"), str):
            return found
    msg = f"{signature!r:.200} is not a signature, which is a mapping with the name of a 'task'."
    raise InvalidTaskError(msg)


# -- by kind


def _call(plain: Mapping[str, Any], rules: Rules, given: Options) -> Node | None:
    options = overlay(plain.get("options") or _NOTHING, given)
    rest = options.pop("chain", None)
    options["task_id"] = options.get("task_id") or rules.new_id()
    call = {**plain, "options": options}
    if not rest:
        return Call(call)
    # A chain, in the form in which it is a body or a message.
    return _chain_of([call, *reversed(rest)], rules)


def _chain_of(tasks: Iterable[Any], rules: Rules) -> Node:
    """The chain of some tasks, of which there is at least one."""
    node = _chain({"task": "celery.chain", "kwargs": {"tasks": [*tasks]}}, rules, _NOTHING)
    # An empty group is what is left of a chain of empty ones.
    return Group(rules.new_id(), ()) if node is None else node


def _chain(plain: Mapping[str, Any], rules: Rules, given: Options) -> Node | None:
    following: list[Node] = []
    # From the end, so that a group meets what follows it, which may have become a chord itself.
    for step, options in reversed(_steps(plain, given)):
        node = compile(step, rules, options)
        if node is None:
            continue
        if isinstance(node, Group) and following:
            following[-1] = _as_chord(node, following[-1])
        else:
            following.append(node)
    if len(following) < 2:
        return following[0] if following else None
    return Chain(tuple(reversed(following)))


def _steps(plain: Mapping[str, Any], given: Options) -> list[tuple[Mapping[str, Any], Options]]:
    """The steps of a chain, with the chain's options where they belong."""
    own = overlay(plain.get("options") or _NOTHING, given)
    steps: list[Any] = []
    empty: Mapping[str, Any] | None = None
    for task in _kwargs(plain).get("tasks") or ():
        step = _unrolled(checked(task))
        if step.get("subtask_type") == "chain":
            steps += _steps(step, _NOTHING)
        elif step.get("subtask_type") == "group" and not _kwargs(step).get("tasks"):
            empty = step
        else:
            steps.append((step, _NOTHING))
    if not steps:
        return [] if empty is None else [(empty, own)]
    first = {
        name: value
        for name, value in own.items()
        if name not in _OF_THE_END and name not in ("link_error", "root_id")
    }
    last = {name: own[name] for name in own if name in _OF_THE_END}
    every = {name: own[name] for name in ("link_error", "root_id") if own.get(name)}
    steps[0] = (_with_arguments_of(plain, steps[0][0]), overlay(steps[0][1], first))
    steps[-1] = (steps[-1][0], overlay(steps[-1][1], last))
    return [(step, overlay(options, every)) for step, options in steps]


def _unrolled(step: Mapping[str, Any]) -> Mapping[str, Any]:
    """In a chain, a group of one is its member."""
    while step.get("subtask_type") == "group":
        tasks: Any = _kwargs(step).get("tasks")
        if tasks.__class__ not in {list, tuple} or len(tasks) != 1 or step.get("args"):
            break
        step = checked(tasks[0])
    return step


def _with_arguments_of(chain: Mapping[str, Any], step: Mapping[str, Any]) -> Mapping[str, Any]:
    args: tuple[Any, ...] = () if step.get("immutable") else tuple(chain.get("args") or ())
    if args:
        step = {**step, "args": (*args, *(step.get("args") or ()))}
    return {**step, "immutable": True} if chain.get("immutable") else step


def _group(plain: Mapping[str, Any], rules: Rules, given: Options) -> Group:
    own = overlay(plain.get("options") or _NOTHING, given)
    id_ = own.pop("task_id", None) or rules.new_id()
    shared = {
        name: value for name, value in own.items() if name not in ("group_index", "link", "chain")
    }
    tasks: Any = _kwargs(plain).get("tasks") or ()
    members = _members(tasks, rules, shared, tuple(plain.get("args") or ()))
    return Group(id_, _kept(tasks, members), is_placed="group_id" in shared)


def _members(
    tasks: Iterable[Any], rules: Rules, shared: Options, args: tuple[Any, ...]
) -> Iterator[Node]:
    """The members of a group, those of groups in it included."""
    drain: Callable[[], Iterable[Any]] | None = getattr(tasks, "drain", None)
    for task in tasks if drain is None else drain():
        plain: Mapping[str, Any] = checked(task)
        if args and not plain.get("immutable"):
            plain = {**plain, "args": (*args, *(plain.get("args") or ()))}
        if plain.get("subtask_type") == "group":
            options: Options = plain.get("options") or _NOTHING
            own = overlay(options, shared)
            inner = {name: own[name] for name in own if name not in ("task_id", "group_index")}
            nested = _kwargs(plain).get("tasks") or ()
            yield from _members(nested, rules, inner, tuple(plain.get("args") or ()))
            continue
        node = compile(plain, rules, shared)
        if node is not None:
            yield node


def _kept(tasks: object, members: Iterator[Node]) -> Iterable[Node]:
    """Everything at once, except what a generator is still to make."""
    return members if getattr(tasks, "is_lazy", False) else tuple(members)


def _chord(plain: Mapping[str, Any], rules: Rules, given: Options) -> Node | None:
    kwargs = _kwargs(plain)
    body, header = kwargs.get("body"), kwargs.get("header")
    if not body:
        return _group(_header(header), rules, given)
    body = checked(body)
    tasks = _header(header)
    id_, body_id = _ids(plain, tasks, body, given)
    own = overlay(plain.get("options") or _NOTHING, given)
    own.pop("task_id", None)
    for_body = {k: v for k, v in own.items() if k not in (*_DELAYS, "parent_id")}
    if body_id is not None:
        for_body["task_id"] = body_id
    then = compile(body, rules, for_body)
    for_header = {k: v for k, v in own.items() if k not in _OF_THE_END and k != "link_error"}
    if rules.errbacks_on_headers and own.get("link_error"):
        errbacks = listed(own["link_error"])
        for_header["link_error"] = [{**checked(link), "immutable": True} for link in errbacks]
    args = (*(plain.get("args") or ()), *(tasks.get("args") or ()))
    group = _group({**tasks, "args": args}, rules, {**for_header, "task_id": id_ or rules.new_id()})
    return group if then is None else _as_chord(group, then)


def _ids(
    plain: Mapping[str, Any],
    header: Mapping[str, Any],
    body: Mapping[str, Any],
    given: Options,
) -> tuple[str | None, str | None]:
    """The ids of a chord's header and body. The chord's own id is the body's, as long as the
    body has none; a frozen chord has its header's."""
    frozen: str | None = (header.get("options") or _NOTHING).get("task_id")
    own: str | None = (plain.get("options") or _NOTHING).get("task_id")
    if _end_id(body) is not None:
        return frozen or own, None
    return frozen, given.get("task_id") or (own if own != frozen else None)


def _end_id(signature: Mapping[str, Any]) -> str | None:
    """The id of the task that a signature ends in, where it has one."""
    kwargs = _kwargs(signature)
    found: str | None = (signature.get("options") or _NOTHING).get("task_id")
    if signature.get("subtask_type") == "chain":
        tasks = list(kwargs.get("tasks") or ())
        return found or (_end_id(checked(tasks[-1])) if tasks else None)
    if signature.get("subtask_type") == "chord" and kwargs.get("body"):
        return _end_id(checked(kwargs["body"]))
    return found


def _header(header: Any) -> Mapping[str, Any]:
    """The header of a chord as the signature of a group."""
    if isinstance(header, Mapping):
        found = checked(header)  # pyright: ignore[reportUnknownArgumentType] - user values
        if found.get("subtask_type") in ("group", "chain"):
            return {**found, "subtask_type": "group"}
        header = [found]
    kwargs = {"tasks": () if header is None else header}
    return {"task": "celery.group", "kwargs": kwargs, "subtask_type": "group"}


def _chunked(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    """The group of ``starmap`` tasks that a signature of chunks stands for."""
    kwargs = _kwargs(plain)
    rows, size = list(kwargs["it"]), max(int(kwargs["n"]), 1)
    tasks = [
        {
            "task": "celery.starmap",
            "args": (),
            "kwargs": {"task": kwargs["task"], "it": rows[start : start + size]},
            "options": {},
            "subtask_type": None,
            "immutable": True,
        }
        for start in range(0, len(rows), size)
    ]
    return {
        "task": "celery.group",
        "kwargs": {"tasks": tasks},
        "options": {"route_name": checked(kwargs["task"])["task"], **(plain.get("options") or {})},
        "subtask_type": "group",
    }


# -- chords


def _as_chord(group: Group, body: Node) -> Chord:
    if isinstance(group.members, tuple):
        return Chord(group.id, tuple(map(_gathered, group.members)), body)
    return Chord(group.id, map(_gathered, group.members), body)


def _gathered(node: Node) -> Node:
    """A member of a header, ending in one task: one that would end in a group ends in the list
    of that group's results."""
    match node:
        case Call():
            return node
        case Chain(steps):
            last = _gathered(steps[-1])
            return node if last is steps[-1] else Chain((*steps[:-1], last))
        case Chord(id_, header, body):
            end = _gathered(body)
            return node if end is body else Chord(id_, header, end)
        case Group(id_, members, is_placed):
            return node if is_placed else _as_chord(Group(id_, tuple(members)), _accumulate(id_))


def _accumulate(group_id: str) -> Call:
    return Call(
        {
            "task": "celery.accumulate",
            "args": (),
            "kwargs": {"index": 0},
            "options": {"task_id": ids_after(f"{group_id}:gathered")()},
            "subtask_type": None,
            "immutable": False,
        }
    )


def _kwargs(signature: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = signature.get("kwargs")
    return found or _NOTHING


def any_chord(node: Node) -> bool:
    """Whether a chord is to be counted for it, now or later; of a generator's members, nobody
    knows."""
    match node:
        case Call():
            return False
        case Chain(steps):
            return any(map(any_chord, steps))
        case Group(_, members):
            return isinstance(members, tuple) and any(map(any_chord, members))
        case Chord(_, header, body):
            # Of one without members, only the body is sent.
            return header != () or any_chord(body)


def ends(node: Node) -> int:
    """How many tasks a node ends in: what a chord counts of it."""
    match node:
        case Call():
            return 1
        case Chain(steps):
            return ends(steps[-1])
        case Chord(_, _, body):
            return ends(body)
        case Group(_, members):
            return sum(map(ends, members))
