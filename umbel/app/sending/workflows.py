"""The part of an app that starts workflows: chains, groups and chords."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from umbel.app.sending.by_name import TaskSending
from umbel.app.sending.calls import adopt
from umbel.app.sending.ids import new_id
from umbel.canvas import plan
from umbel.canvas.outcomes import beginning, result_of
from umbel.canvas.plan import Chord, Group, Node
from umbel.canvas.waves import Step, first_wave
from umbel.execution import context
from umbel.model import Expected

if TYPE_CHECKING:
    from umbel.app.base import Umbel
    from umbel.model import Message
    from umbel.result.base import ResultBase
    from umbel.wire.call import Call

__all__ = ["Workflows"]

_AT_ONCE = 1000
"""Messages of a workflow that are made before they are published: what of it is in memory."""


class _Start:
    """A workflow on its way: its first wave, and the result that it will have."""

    def __init__(
        self, app: Umbel, node: Node, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        # The members of a generator become known one by one, as they are sent.
        self._results: list[ResultBase] = []
        members = node.members if isinstance(node, Group) else ()
        members = node.header if isinstance(node, Chord) else members
        if not isinstance(members, tuple):
            field = "members" if isinstance(node, Group) else "header"
            node = msgspec.structs.replace(node, **{field: self._noted(app, members)})
        self._app, self._node = app, node
        self.any_chord = plan.any_chord(node)
        self.items: Iterator[Step | Expected] = first_wave(node, args, kwargs)

    def _noted(self, app: Umbel, members: Iterable[Node]) -> Iterator[Node]:
        for member in members:
            self._results.append(result_of(member, app))
            yield member

    @property
    def result(self) -> ResultBase:
        """The result; complete when all has been sent."""
        return result_of(self._node, self._app, self._results)


class Workflows(TaskSending):
    """Sends the first wave of workflows, in batches; workers see to the rest."""

    def start_workflow(
        self,
        signature: Mapping[str, Any],
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
    ) -> Any:
        """Send a chain, group or chord; returns its result, or None when it is empty.

        Raises:
            BatchError: The broker refused some; ``errors`` says which of their batch.
            OperationalError: The broker cannot be reached; some may have been sent.
            NotImplementedError: A chord needs a result backend, and there is none, or one that
                counts no chords; nothing has been sent.
        """
        begun = self._begin(signature, args, kwargs, options)
        if begun is None:
            return None
        policy = self.publish_policy(options)
        if begun.any_chord:
            self.portal.call(self._ensure_counted)
        for expect, steps in _batches(begun.items):
            if expect:
                self.portal.call(self._expect, expect)
            calls = self._calls_of(steps)
            self.portal.call(self.producer.send, calls, policy)
        return self._begun(begun, options)

    async def astart_workflow(
        self,
        signature: Mapping[str, Any],
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
    ) -> Any:
        """:meth:`start_workflow`, without blocking the running loop."""
        begun = self._begin(signature, args, kwargs, options)
        if begun is None:
            return None
        policy = self.publish_policy(options)
        if begun.any_chord:
            await self._ensure_counted()
        for expect, steps in _batches(begun.items):
            if expect:
                await self._expect(expect)
            calls = self._calls_of(steps)
            await self.producer.send(calls, policy)
        return self._begun(begun, options)

    def plan(
        self, signature: Mapping[str, Any], options: Mapping[str, Any] | None = None
    ) -> Node | None:
        """What a signature comes to, every id fixed; None when it is empty.

        Args:
            options: Win over the signature's own.
        """
        given = {k: v for k, v in (options or {}).items() if k not in _OF_THE_CALL}
        rules = plan.Rules(
            new_id, errbacks_on_headers=bool(self.conf.task_allow_error_cb_on_chord_header)
        )
        return plan.compile(signature, rules, given)

    def encode_steps(self, steps: Sequence[Step], reply_to: str | None = None) -> list[Message]:
        """The messages of calls that follow a task.

        Args:
            reply_to: Where results that travel as messages are sent, for those that do not say.
        """
        calls: list[Call] = []
        for step in steps:
            options: Mapping[str, Any] = step.signature.get("options") or {}
            given = {"reply_to": reply_to, **options} if reply_to is not None else options
            name = str(step.signature["task"])
            kwargs: Mapping[str, Any] = step.signature.get("kwargs") or {}
            own = self._own_way(name, step.args, kwargs, given)
            calls += [self._make_call(name, step.args, kwargs, given)] if own is None else own
        return self.producer.encode(calls, self.publish_policy({}))

    def _begin(
        self,
        signature: Mapping[str, Any],
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
    ) -> _Start | None:
        node = self.plan(signature, options)
        return None if node is None else _Start(cast("Umbel", self), node, args or (), kwargs or {})

    def _begun(self, begun: _Start, options: Mapping[str, Any]) -> ResultBase:
        result = begun.result
        if context.current() is not None:
            adopt((beginning(result),), options)
        return result

    def _calls_of(self, steps: Sequence[Step]) -> list[Call]:
        calls: list[Call] = []
        for step in steps:
            name, options = str(step.signature["task"]), step.signature["options"]
            kwargs: Mapping[str, Any] = step.signature.get("kwargs") or {}
            task = self._tasks.get(name)
            own = self._own_way(name, step.args, kwargs, options)
            if own is not None:
                calls += own
            elif task is None or options.get("route_name"):
                calls.append(self._make_call(name, step.args, kwargs, options))
            else:
                calls += task.calls_of(step.args, kwargs, options)
        return calls

    async def _ensure_counted(self) -> None:
        """Refuse chords that no worker could count: better before any of it runs."""
        backend = await self.connections.backend()
        if not backend.counts_chords:
            # It says why.
            await backend.expect([Expected("", 0)])

    async def _expect(self, expect: Sequence[Expected]) -> None:
        await (await self.connections.backend()).expect(expect)


_OF_THE_CALL = frozenset({"producer", "publisher", "connection", "add_to_parent", "router", "app"})
"""Options that are about sending, not about what is sent."""


def _batches(
    items: Iterator[Step | Expected],
) -> Iterator[tuple[list[Expected], list[Step]]]:
    """What to send together; with the chords that are to be known before that."""
    expect: list[Expected] = []
    steps: list[Step] = []
    for item in items:
        if not isinstance(item, Step):
            expect.append(item)
            continue
        steps.append(item)
        if len(steps) == _AT_ONCE:
            yield expect, steps
            expect, steps = [], []
    if steps:
        yield expect, steps
