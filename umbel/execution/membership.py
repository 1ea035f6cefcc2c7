"""What a task's message says of its place in a workflow."""

from __future__ import annotations

from umbel.canvas.endings import Member
from umbel.model import Request
from umbel.serialization.registry import serializer
from umbel.wire import headers
from umbel.wire.tasks import Body

__all__ = ["member"]


def member(request: Request, body: Body) -> Member:
    """The place of a request whose body has been read."""
    index = headers.read(request.message).get("group_index") if body.chord is not None else None
    return Member(
        chord=body.chord,
        chain=body.chain,
        group_id=request.group_id,
        group_index=index if isinstance(index, int) else None,
        root_id=request.root_id or request.id,
        serializer=serializer(request.message.content_type).name,
        reply_to=request.message.reply_to,
    )
