"""The immutable values that travel; no I/O, no behaviour beyond reading themselves."""

from umbel.model.dead_letter import DeadLetter, Retention
from umbel.model.delivery import Delivery
from umbel.model.message import Message
from umbel.model.outcome import Failed, Ignored, Outcome, Rejected, Retried, Revoked, Succeeded
from umbel.model.queue import Binding, Exchange, Queue, QueueStats
from umbel.model.record import (
    Arrival,
    Composed,
    Expected,
    FullChord,
    GroupRecord,
    ResultRecord,
    arrival_by_chord,
)
from umbel.model.request import Request
from umbel.model.revocation import Revocation
from umbel.model.schedule import Firing, Leadership, ScheduleRecord
from umbel.model.settlement import Ack, Nack, Settlement

__all__ = [
    "Ack",
    "Arrival",
    "Binding",
    "Composed",
    "DeadLetter",
    "Delivery",
    "Exchange",
    "Expected",
    "Failed",
    "Firing",
    "FullChord",
    "GroupRecord",
    "Ignored",
    "Leadership",
    "Message",
    "Nack",
    "Outcome",
    "Queue",
    "QueueStats",
    "Rejected",
    "Request",
    "ResultRecord",
    "Retention",
    "Retried",
    "Revocation",
    "Revoked",
    "ScheduleRecord",
    "Settlement",
    "Succeeded",
    "arrival_by_chord",
]
