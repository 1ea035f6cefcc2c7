"""What drivers must do: protocols, each with a conformance suite."""

from umbel.protocols.backend import ResultBackend
from umbel.protocols.broker import (
    Broker,
    Capabilities,
    Compose,
    HangsByALine,
    KnowsHolders,
    Lifeline,
    Pushes,
    TellsTime,
    Transactional,
)
from umbel.protocols.clock import Clock
from umbel.protocols.dead_letters import DeadLetterStore, KeepsDeadLetters
from umbel.protocols.fanout import Fanout
from umbel.protocols.pool import Interrupts, Occupied, Pool, Receiver, Runner, Running
from umbel.protocols.revocations import KeepsRevocations, RevocationStore
from umbel.protocols.schedule_store import (
    KeepsSchedules,
    PublishingScheduleStore,
    ScheduleStore,
)
from umbel.protocols.serializer import Serializer

__all__ = [
    "Broker",
    "Capabilities",
    "Clock",
    "Compose",
    "DeadLetterStore",
    "Fanout",
    "HangsByALine",
    "Interrupts",
    "KeepsDeadLetters",
    "KeepsRevocations",
    "KeepsSchedules",
    "KnowsHolders",
    "Lifeline",
    "Occupied",
    "Pool",
    "PublishingScheduleStore",
    "Pushes",
    "Receiver",
    "ResultBackend",
    "RevocationStore",
    "Runner",
    "Running",
    "ScheduleStore",
    "Serializer",
    "TellsTime",
    "Transactional",
]
