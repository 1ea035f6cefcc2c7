"""Methods that name queues and exchanges.

RabbitMQ takes any name of up to 255 bytes; pamqp insists on the letters of the standard.
"""

from __future__ import annotations

from pamqp import commands

__all__ = [
    "BindExchange",
    "BindQueue",
    "Consume",
    "DeclareExchange",
    "DeclareQueue",
    "DeleteExchange",
    "DeleteQueue",
    "Get",
    "PurgeQueue",
]


class DeclareQueue(commands.Queue.Declare):
    """``queue.declare``."""

    def validate(self) -> None:
        """Nothing: RabbitMQ judges."""


class DeleteQueue(commands.Queue.Delete):
    """``queue.delete``."""

    def validate(self) -> None:
        """Nothing: RabbitMQ judges."""


class BindQueue(commands.Queue.Bind):
    """``queue.bind``."""

    def validate(self) -> None:
        """Nothing: RabbitMQ judges."""


class PurgeQueue(commands.Queue.Purge):
    """``queue.purge``."""

    def validate(self) -> None:
        """Nothing: RabbitMQ judges."""


class DeclareExchange(commands.Exchange.Declare):
    """``exchange.declare``."""

    def validate(self) -> None:
        """Nothing: RabbitMQ judges."""


class DeleteExchange(commands.Exchange.Delete):
    """``exchange.delete``."""

    def validate(self) -> None:
        """Nothing: RabbitMQ judges."""


class BindExchange(commands.Exchange.Bind):
    """``exchange.bind``."""

    def validate(self) -> None:
        """Nothing: RabbitMQ judges."""


class Consume(commands.Basic.Consume):
    """``basic.consume``."""

    def validate(self) -> None:
        """Nothing: RabbitMQ judges."""


class Get(commands.Basic.Get):
    """``basic.get``."""

    def validate(self) -> None:
        """Nothing: RabbitMQ judges."""
