"""Messages in the database: functions of a running transaction, called in its thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

import msgspec

from umbel.drivers.sqlite.session import Session
from umbel.exceptions import EncodeError, OperationalError, QueueConflict
from umbel.model import Ack, Delivery, Message, Nack, Queue, QueueStats, Retention
from umbel.routing.bindings import conflict, ways_into
from umbel.routing.expiry import drop_time

__all__ = [
    "Row",
    "SomeLost",
    "begin",
    "bury",
    "conclude",
    "declare",
    "extend",
    "extend_all",
    "forget",
    "forget_all",
    "give_back",
    "next_due",
    "prepare",
    "publish",
    "purge",
    "read",
    "ready",
    "start",
    "stats",
    "take",
    "understood",
    "unlend",
]

Row = tuple[Message, bytes]
"""A message, and as it is kept."""

Taken = tuple[str, int, int, int, bytes, int, int]
"""Queue, seq, token, attempt, message, begun, redelivered."""

_LOWEST, _HIGHEST = 0, 255
_LARGEST = 900_000_000
"""SQLite keeps values of less than a billion bytes."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class SomeLost(Exception):
    """Not all of the leases are ours any more."""


def prepare(message: Message) -> Row:
    """What can be kept of a message: all, or an error.

    Raises:
        EncodeError: Something in it cannot be written.
    """
    try:
        kept = _encode(message)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise EncodeError(f"cannot keep the message {message.id!r}: {error}") from error
    if len(kept) > _LARGEST:
        raise EncodeError(
            f"the message {message.id!r} has {len(kept):,} bytes, SQLite keeps {_LARGEST:,}; keep "
            f"the payload elsewhere and send a reference to it"
        )
    return message, kept


def understood(kept: bytes) -> Message:
    """What was kept; bytes that are no message as the body of one without an id."""
    try:
        return _decode(kept)
    except msgspec.MsgspecError:
        return Message(id="", body=kept)


def read(taken: Taken, *, leased_until: float) -> Delivery:
    """What is handed out."""
    queue, seq, token, attempt, kept, begun, redelivered = taken
    defect = None
    try:
        message = _decode(kept)
    except msgspec.MsgspecError as error:
        message = Message(id="", body=kept)
        defect = f"the database row {seq} holds no message: {error}"
    return Delivery(
        message=message,
        queue=queue,
        tag=f"{seq}:{token}",
        attempt=attempt,
        redelivered=bool(redelivered),
        begun=bool(begun),
        leased_until=leased_until,
        defect=defect,
    )


def declare(session: Session, queues: Sequence[Queue]) -> None:
    """Make the queues and their bindings exist.

    Raises:
        QueueConflict: One exists with other properties; none is declared.
    """
    for queue in queues:
        row = session.execute(session.sql["queue_definition"], (queue.name,)).fetchone()
        if row is not None and row[0] is not None:
            existing = msgspec.msgpack.decode(row[0], type=Queue)
            problem = conflict(existing, queue)
            if problem is not None:
                raise QueueConflict(problem)
        else:
            definition = msgspec.msgpack.encode(queue)
            session.execute(
                session.sql["define_queue"], (queue.name, definition, queue.message_ttl)
            )
        for way in ways_into(queue):
            arguments = msgspec.json.encode(way.arguments, order="sorted").decode()
            session.execute(
                session.sql["add_binding"],
                (way.exchange, way.type, way.routing_key, way.queue, arguments),
            )


def publish(session: Session, rows: Iterable[Row], now: float) -> dict[int, Exception]:
    """Put messages into the queues they reach; returns what reached none, by index."""
    errors: dict[int, Exception] = {}
    values: list[tuple[int, int, float | None, float | None, bytes]] = []
    known: dict[str, tuple[int, float | None]] = {}
    for index, (message, kept) in enumerate(rows):
        queues: Sequence[str] = (message.routing_key,)
        if message.exchange:
            queues = session.bindings().queues(
                message.exchange, message.routing_key, message.headers
            )
            if not queues:
                errors[index] = OperationalError(
                    f"exchange {message.exchange!r} has no queue bound for routing key "
                    f"{message.routing_key!r}; declare the queue, or publish to it by name"
                )
                continue
        due = message.not_before
        if due is not None and not due > now:
            due = None
        rank = -min(max(message.priority, _LOWEST), _HIGHEST) if message.priority else 0
        for name in queues:
            try:
                if name not in known:
                    known[name] = session.queue(name)
            except UnicodeEncodeError as error:
                errors[index] = OperationalError(f"queue name {name!r} is no text: {error}")
                break
            queue, ttl = known[name]
            drop_at = None
            if ttl is not None or message.expires_at is not None:
                drop_at = drop_time(message, message_ttl=ttl, now=now)
            values.append((queue, rank, due, drop_at, kept))
    if values:
        session.executemany(session.sql["put"], values)
        session.news.add("messages")
    return errors


Moments = tuple[float, float]
"""By the wall clock, and by the machine's (``Clock.uptime``)."""


def ready(session: Session, queues: Sequence[str], now: float, calm_at: float) -> bool:
    """Whether it is worth trying to take some: cheap, and locks nobody out."""
    for name in queues:
        queue = session.known_queue(name)
        if queue is not None and session.execute(session.sql["any_ready"], (queue,)).fetchone():
            return True
    due, lease_end = next_due(session)
    return due <= now or max(lease_end, calm_at) <= session.uptime()


def next_due(session: Session) -> Moments:
    """When a message comes into some queue, and when one comes back; inf when none does."""
    due, lease_end = session.execute(session.sql["next_due"]).fetchone()
    return inf if due is None else due, inf if lease_end is None else lease_end


def take(
    session: Session,
    queues: Sequence[str],
    *,
    limit: int,
    now: float,
    calm_at: float,
    lease: float,
    token: int,
) -> list[Taken]:
    """Lease up to ``limit`` messages for so long, the first queue first.

    Args:
        calm_at: From when on leases that have run out are over (uptime). See :class:`Calm`.
        token: Of these leases; with seq it is unique for every lease ever granted.
    """
    sql, uptime = session.sql, session.uptime()
    session.execute(sql["promote"], (now, uptime if uptime >= calm_at else -inf))
    _drop_overdue(session, now)
    taken: list[Taken] = []
    for name in queues:
        queue = session.known_queue(name)
        if queue is None:
            continue
        rows = session.execute(sql["first_ready"], (queue, now, limit - len(taken))).fetchall()
        taken += [
            (name, seq, token, attempt + 1, kept, begun, redelivered)
            for seq, attempt, kept, begun, redelivered in rows
        ]
        if len(taken) >= limit:
            break
    until = uptime + lease
    session.executemany(sql["lend"], [(token, uptime, until, row[1]) for row in taken])
    return taken


def _drop_overdue(session: Session, now: float) -> None:
    overdue = session.execute(session.sql["overdue"], (now,)).fetchall()
    if not overdue:
        return
    session.executemany(session.sql["remove"], [(seq,) for seq, _ in overdue])
    queues = [queue for _, queue in overdue]
    session.executemany(
        session.sql["count_expired"], [(queues.count(queue), queue) for queue in set(queues)]
    )


def begin(session: Session, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Mark the messages as not to run again; returns those whose lease was lost."""
    seqs_by_token: dict[str, list[int]] = {}
    for delivery in deliveries:
        seq, _, token = delivery.tag.partition(":")
        seqs_by_token.setdefault(token, []).append(int(seq))
    sql, lost = session.sql, set[str]()
    for token, seqs in seqs_by_token.items():
        span = (min(seqs), max(seqs), token)
        # Most often all that was taken in one step is begun in one step: half the cost.
        if session.execute(sql["count_lent"], span).fetchone()[0] == len(seqs):
            session.execute(sql["begin_all"], span)
            continue
        lost.update(
            f"{seq}:{token}"
            for seq in seqs
            if session.execute(sql["begin_work"], (seq, token)).rowcount == 0
        )
    return [delivery for delivery in deliveries if delivery.tag in lost]


def start(session: Session, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Note that the messages are about to be run; returns those whose lease was lost."""
    execute, sql = session.execute, session.sql["start"]
    return [
        delivery for delivery in deliveries if execute(sql, delivery.tag.split(":")).rowcount == 0
    ]


def forget_all(session: Session, deliveries: Sequence[Delivery]) -> None:
    """Delete the messages; half as dear as :func:`forget`.

    Raises:
        SomeLost: A lease was lost. To be rolled back.
    """
    tags = [delivery.tag.split(":") for delivery in deliveries]
    if session.executemany(session.sql["ack"], tags).rowcount not in (len(tags), -1):
        raise SomeLost


def forget(session: Session, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Delete the messages; returns those whose lease was lost."""
    execute, sql = session.execute, session.sql["ack"]
    return [
        delivery for delivery in deliveries if execute(sql, delivery.tag.split(":")).rowcount == 0
    ]


def give_back(
    session: Session, deliveries: Sequence[Delivery], due: float | None, *, counts: bool
) -> list[Delivery]:
    """Let others have the messages from ``due`` on, None: now; returns what was lost."""
    execute, sql = session.execute, session.sql["give_back"]
    session.news.add("messages")
    return [
        delivery
        for delivery in deliveries
        if execute(sql, (due, counts, *delivery.tag.split(":"))).rowcount == 0
    ]


def bury(
    session: Session, deliveries: Sequence[Delivery], now: float, reason: str, keep: Retention
) -> list[Delivery]:
    """Keep the messages with the dead ones; returns those whose lease was lost."""
    session.executemany(
        session.sql["bury"], [(now, reason, *delivery.tag.split(":")) for delivery in deliveries]
    )
    session.execute(session.sql["limit_dead"], (keep.count,))
    if keep.seconds is not None:
        session.execute(session.sql["expire_dead"], (now - keep.seconds,))
    return forget(session, deliveries)


def conclude(
    session: Session, delivery: Delivery, verdict: Ack | Nack, now: float, keep: Retention
) -> list[Delivery]:
    """Carry out a verdict; returns the delivery if its lease was lost."""
    match verdict:
        case Ack():
            return forget(session, (delivery,))
        case Nack(requeue=False, reason=reason):
            return bury(session, (delivery,), now, reason, keep)
        case Nack(delay=delay, counts=counts):
            due = now + delay if delay > 0 else None
            return give_back(session, (delivery,), due, counts=counts)


def extend(session: Session, deliveries: Sequence[Delivery], lease: float) -> list[Delivery]:
    """Lease the messages for so long from now; returns those whose lease was lost."""
    execute, sql, uptime = session.execute, session.sql["extend"], session.uptime()
    until = uptime + lease
    return [
        delivery
        for delivery in deliveries
        if execute(sql, (uptime, until, *delivery.tag.split(":"))).rowcount == 0
    ]


def extend_all(session: Session, tokens: tuple[int, int], lease: float) -> int:
    """Lease everything that has such a token, the last one not included, for so long from now."""
    uptime = session.uptime()
    values = (uptime, uptime + lease, *tokens)
    return session.execute(session.sql["extend_all"], values).rowcount


def unlend(session: Session, tags: Iterable[str]) -> None:
    """Undo leases that nobody has seen."""
    session.executemany(session.sql["unlend"], [tag.split(":") for tag in tags])
    session.news.add("messages")


def purge(session: Session, queues: Sequence[str], now: float) -> int:
    """Drop every message nobody holds; returns how many."""
    dropped = 0
    for name in queues:
        queue = session.known_queue(name)
        if queue is not None:
            uptime = session.uptime()
            dropped += session.execute(session.sql["purge_ready"], (queue,)).rowcount
            dropped += session.execute(session.sql["purge_delayed"], (queue, now)).rowcount
            dropped += session.execute(session.sql["purge_abandoned"], (uptime, queue)).rowcount
    return dropped


def stats(session: Session, queues: Sequence[str], now: float) -> dict[str, QueueStats]:
    """Ready, leased and delayed messages per queue."""
    found: dict[str, QueueStats] = {}
    for name in queues:
        queue = session.known_queue(name)
        if queue is None:
            found[name] = QueueStats()
            continue
        (ready_,) = session.execute(session.sql["count_ready"], (queue,)).fetchone()
        moment = {"now": now, "uptime": session.uptime(), "queue": queue}
        delayed, due, lent = session.execute(session.sql["count_delayed"], moment).fetchone()
        leased, abandoned = session.execute(session.sql["count_leased"], moment).fetchone()
        found[name] = QueueStats(
            ready=ready_ + due + abandoned, leased=leased + lent, delayed=delayed
        )
    return found
