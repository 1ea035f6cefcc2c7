"""What becomes of a chord whose members have all arrived: its body, or its body's failure. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from umbel.canvas import follow_up
from umbel.canvas.endings import Member, fallen
from umbel.canvas.follow_up import Step, Wave
from umbel.canvas.plan import checked, ids_after, listed
from umbel.exceptions import (
    ChordError,
    DecodeError,
    EncodeError,
    InvalidTaskError,
    SecurityError,
)
from umbel.model import Arrival, Composed, FullChord, Message
from umbel.result import GroupResult, ResultBase, result_from_tuple
from umbel.states import SUCCESS
from umbel.wire import chords
from umbel.wire.results import ResultCodec

__all__ = ["Composer", "Failure", "Rewrite"]


class Failure:
    """A task that failed without running: what its error callbacks are told."""

    __slots__ = ("error", "id", "root_id", "task", "traceback")

    def __init__(
        self,
        id: str,
        task: str,
        error: BaseException,
        traceback: str | None = None,
        root_id: str | None = None,
    ) -> None:
        self.id = id
        self.task = task
        self.error = error
        self.traceback = traceback
        self.root_id = root_id


Rewrite = Callable[[Sequence[Any], Failure], Sequence[Any]]
"""Makes error callbacks that take more than an id into ones that a worker can be sent."""


class Composer:
    """A ``umbel.protocols.Compose``."""

    def __init__(
        self,
        codec: ResultCodec,
        encode: Callable[[Sequence[Step], str | None], Sequence[Message]],
        *,
        accept: frozenset[str],
        rewrite: Rewrite = lambda errbacks, failure: errbacks,  # noqa: ARG005
    ) -> None:
        """Make one.

        Args:
            accept: Content types that are read.
        """
        self._codec = codec
        self._encode = encode
        self._accept = accept
        self._rewrite = rewrite

    def __call__(self, arrival: Arrival, full: FullChord) -> Composed:
        """The body with its results; else its failure, which names the member.

        Source:
            Celery user guide, Canvas, "Chords": ``ChordError``, error callbacks of the body.
        """
        body = chords.read(arrival.body or full.body, accept=self._accept)
        # The last one to arrive is what sends the body.
        context = {"root_id": body.root_id or arrival.record.id, "parent_id": arrival.record.id}
        reply_to = arrival.record.reply_to
        try:
            values = self._values(full)
        except ChordError as error:
            return self._failed(body, full, context, error, reply_to)
        try:
            wave = follow_up.start(body.signature, (values,), context, ids_after(f"{full.id}:body"))
            return Composed(publish=tuple(self._encode(wave.steps, reply_to)), expect=wave.expect)
        except (InvalidTaskError, EncodeError) as trouble:
            refusal = ChordError(f"Callback error: {trouble!r}")
            refusal.__cause__ = trouble
            return self._failed(body, full, context, refusal, reply_to)

    def _values(self, full: FullChord) -> list[Any]:
        if full.lost:
            raise ChordError(
                f"The result backend has lost how many members of chord {full.id} had ended"
            )
        if full.trouble:
            raise ChordError(f"Callback error: {full.trouble}")
        values: list[Any] = []
        value_by_id: dict[str, Any] = {}
        for record in full.records:
            try:
                meta = self._codec.read(record)
            except (DecodeError, SecurityError) as trouble:
                raise ChordError(f"Dependency {record.id} cannot be read: {trouble!r}") from trouble
            # Not the record's: where Celery's workers count along, it may know neither.
            task_id = meta.task_id or record.id
            if meta.status != SUCCESS:
                found = meta.result
                cause = found if isinstance(found, BaseException) else None
                raise ChordError(f"Dependency {task_id} raised {found!r}") from cause
            values.append(meta.result)
            value_by_id[task_id] = meta.result
        if full.group is None:
            return values
        try:
            _, _, members = self._codec.read_group(full.group)
            results = [result_from_tuple(member) for member in members]
        except (DecodeError, SecurityError, ValueError) as trouble:
            raise ChordError(f"Cannot restore group: {trouble!r}") from trouble
        return _arranged(results, value_by_id)

    def _failed(
        self,
        body: chords.ChordBody,
        full: FullChord,
        context: Mapping[str, Any],
        error: ChordError,
        reply_to: str | None,
    ) -> Composed:
        place = Member(
            chord=None,
            chain=None,
            group_id=None,
            group_index=None,
            root_id=body.root_id,
            reply_to=reply_to,
        )
        signature = _with_id(body.signature, ids_after(f"{full.id}:body")())
        ending = fallen(signature, place, error, None, self._codec)
        waves: list[Wave] = []
        root_id: str = context["root_id"]
        for task_id, task, errbacks in _errbacks(signature):
            failure = Failure(task_id, task, error, root_id=root_id)
            called = self._rewrite(errbacks, failure)
            waves.append(follow_up.after_failure(id=task_id, root_id=root_id, errbacks=called))
        publish: list[Message] = []
        for wave in waves:
            publish += self._encode(wave.steps, reply_to)
        return Composed(
            publish=tuple(publish),
            expect=tuple(each for wave in waves for each in wave.expect),
            records=ending.tail,
            arrivals=ending.arrivals,
        )


def _arranged(results: Iterable[ResultBase], value_by_id: Mapping[str, Any]) -> list[Any]:
    """The values of results, those of groups as lists.

    Raises:
        ChordError: There is no value of a member.
    """
    values: list[Any] = []
    for result in results:
        if isinstance(result, GroupResult):
            values.append(_arranged(result, value_by_id))
        elif result.id in value_by_id:
            values.append(value_by_id[result.id])
        else:
            raise ChordError(f"Dependency {result.id} has no result")
    return values


def _with_id(signature: Mapping[str, Any], task_id: str) -> Mapping[str, Any]:
    """Bodies have an id, except those that somebody has written by hand."""
    options: Mapping[str, Any] = signature.get("options") or {}
    if signature.get("subtask_type") or options.get("task_id"):
        return signature
    return {**signature, "options": {**options, "task_id": task_id}}


def _errbacks(signature: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Any]]]:
    """Who is told that a body will not run: the id and name of each task that it would have begun
    with or is known by, and that task's error callbacks."""
    options: Mapping[str, Any] = signature.get("options") or {}
    kwargs: Mapping[str, Any] = signature.get("kwargs") or {}
    own = listed(options.get("link_error"))
    match signature.get("subtask_type"):
        case "group":
            for member in kwargs.get("tasks") or ():
                yield from _errbacks(checked(member))
        case "chord" if kwargs.get("body"):
            yield from _errbacks(_also(checked(kwargs["body"]), own))
        case "chain" if kwargs.get("tasks"):
            yield from _errbacks(_also(checked(kwargs["tasks"][0]), own))
        case _:
            if own and isinstance(options.get("task_id"), str):
                yield options["task_id"], signature["task"], own


def _also(signature: Mapping[str, Any], errbacks: list[Any]) -> Mapping[str, Any]:
    options: Mapping[str, Any] = signature.get("options") or {}
    own = listed(options.get("link_error"))
    together = [*own, *(errback for errback in errbacks if errback not in own)]
    return {**signature, "options": {**options, "link_error": together}}
