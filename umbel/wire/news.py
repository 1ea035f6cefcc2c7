"""The events that every task has, written many at a time.

As text, without a value for each: what all events of a node say is written once for many, what
only the task knows where it runs. The text is JSON, or JSON as it stands inside a string of JSON:
that is how an envelope carries it, and to write it so at once saves reading all of it once more.

Source:
    Celery user guide, Monitoring, "Event Reference".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from umbel.model import Request
from umbel.serialization import json

__all__ = ["ENCLOSED", "PLAIN", "SILENT", "Ending", "TaskNews", "ending", "in_style"]

SILENT: Final = 0
"""Nothing is to be told of a task."""
PLAIN: Final = 1
"""Events are JSON."""
ENCLOSED: Final = 2
"""Events are what stands between the quotes of a string of JSON that holds them."""

Ending = tuple[bytes, bytes]
"""What only the task knows of its ``task-started``, and of its ``task-succeeded``."""

_NULL = msgspec.Raw(b"null")


class _Shown(msgspec.Struct, frozen=True, gc=False):
    """What people are shown of a message, taken from its headers as it stands there."""

    argsrepr: msgspec.Raw = _NULL
    kwargsrepr: msgspec.Raw = _NULL
    eta: msgspec.Raw = _NULL
    expires: msgspec.Raw = _NULL


_read_shown = msgspec.json.Decoder(_Shown).decode
_write = msgspec.json.Encoder().encode
_NOTHING = _Shown()


def in_style(text: bytes, style: int) -> bytes:
    r"""JSON in one of the styles.

    >>> in_style(b'{"a":1}', ENCLOSED)
    b'{\\"a\\":1}'
    """
    return _write(text.decode())[1:-1] if style == ENCLOSED else text


def _plainly(text: str | None) -> bytes:
    try:
        return _write(text)
    except UnicodeEncodeError:
        # Half a character, as a repr may well have it.
        return json.dumps(text)


def _inside(text: str | None) -> bytes:
    written = _plainly(text)
    if text is not None and len(written) == len(text) + 2:
        # Nothing in it had to be escaped.
        return b'\\%b\\"' % written[:-1]
    return in_style(written, ENCLOSED)


_ENDINGS: tuple[tuple[Callable[[str | None], bytes], bytes, bytes], ...] = tuple(
    (
        write,
        in_style(b'%b,"timestamp":%b},', style),
        in_style(b'%b,"timestamp":%b,"result":%b,"runtime":%b},', style),
    )
    for style, write in ((SILENT, _plainly), (PLAIN, _plainly), (ENCLOSED, _inside))
)
"""By style: how to write text, and the rest of ``task-started`` and of ``task-succeeded``."""


def ending(style: int, uuid: str, *, result: str | None, runtime: float, now: float) -> Ending:
    """The part of a task's last two events that only it knows; for :meth:`TaskNews.succeeded`.

    Args:
        result: The ``repr``; None when nobody has asked for it in time.
        runtime: Seconds.
        now: Unix seconds of its end.
    """
    write, started, succeeded = _ENDINGS[style]
    id_ = write(uuid)
    return (
        started % (id_, _write(now - runtime)),
        succeeded % (id_, _write(now), write(result), _write(runtime)),
    )


class TaskNews:
    """Writes the events that every task has. All texts are events with commas between them."""

    def __init__(self, *, hostname: str, pid: int, utcoffset: float, style: int) -> None:
        self._style = style
        self._node = b'"hostname":%b,"pid":%d,"utcoffset":%b' % (
            _write(hostname),
            pid,
            _write(utcoffset),
        )
        # Grows with the program's tasks only.
        self._names: dict[str, str] = {}
        self._kwargs = self._text(b'","kwargs":"')
        self._root = self._text(b'","root_id":"')
        self._rest = self._text(b'","parent_id":null,"retries":0,"eta":null,"expires":null},')

    def received(self, requests: Iterable[Request], *, clock: int, now: float) -> bytes:
        """``task-received`` of each.

        Args:
            clock: The number of all of them: what is received together is simultaneous.
            now: Unix seconds.
        """
        head = self._text(
            b'{"type":"task-received",%b,"clock":%d,"timestamp":%b,"uuid":"'
            % (self._node, clock, _write(now))
        )
        between, root, rest, names = self._kwargs, self._root, self._rest, self._names
        events: list[str] = []
        for request in requests:
            id_, args, kwargs = request.id, request.args_shown, request.kwargs_shown
            if (
                args is None
                or kwargs is None
                or request.root_id != id_
                or request.parent_id is not None
                or request.retries
                or request.eta is not None
                or request.expires is not None
                or '"' in id_
                or "\\" in id_
                or '"' in args
                or "\\" in args
                or not args.isprintable()
                or (kwargs != "{}" and ('"' in kwargs or "\\" in kwargs))
                or not kwargs.isprintable()
            ):
                events.append(self._in_full(request, clock, now))
                continue
            name = names.get(request.task) or self._name(request.task)
            events.append(f"{head}{id_}{name}{args}{between}{kwargs}{root}{id_}{rest}")
        return "".join(events)[:-1].encode()

    def _in_full(self, request: Request, clock: int, now: float) -> str:
        """``task-received`` of one that is not like most."""
        try:
            shown = _read_shown(request.message.headers)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            shown = _NOTHING
        return self._text(
            b'{"type":"task-received",%b,"clock":%d,"timestamp":%b,"uuid":%b,"name":%b,"args":%b,'
            b'"kwargs":%b,"root_id":%b,"parent_id":%b,"retries":%d,"eta":%b,"expires":%b},'
            % (
                self._node,
                clock,
                _write(now),
                _write(request.id),
                _write(request.task),
                shown.argsrepr,
                shown.kwargsrepr,
                _write(request.root_id),
                _write(request.parent_id),
                request.retries,
                shown.eta,
                shown.expires,
            )
        )

    def succeeded(self, endings: Sequence[Ending], *, clock: int) -> bytes:
        """``task-started`` and ``task-succeeded`` of each.

        Args:
            clock: The number of the starts; ends have the next one, so that they come last
                wherever they are sorted.
        """
        start, end = self._head(b"started", clock), self._head(b"succeeded", clock + 1)
        parts: list[bytes] = []
        for started, succeeded in endings:
            parts += (start, started, end, succeeded)
        return b"".join(parts)[:-1]

    def ended(self, endings: Sequence[Ending], *, clock: int) -> bytes:
        """``task-succeeded`` of each: their start was told before."""
        end = self._head(b"succeeded", clock)
        return b"".join([end + succeeded for _, succeeded in endings])[:-1]

    def _head(self, step: bytes, clock: int) -> bytes:
        text = b'{"type":"task-%b",%b,"clock":%d,"uuid":' % (step, self._node, clock)
        return in_style(text, self._style)

    def _name(self, name: str) -> str:
        text = self._names[name] = self._text(b'","name":%b,"args":"' % _write(name))
        return text

    def _text(self, text: bytes) -> str:
        # What others have put into their headers is not always text.
        plain = text.decode(errors="replace")
        return _write(plain)[1:-1].decode() if self._style == ENCLOSED else plain
