"""``kombu.mixins``: programs that consume messages until they are told to stop.

::

    class Mails(ConsumerMixin):
        def __init__(self, connection):
            self.connection = connection

        def get_consumers(self, Consumer, channel):
            return [Consumer(queues=[Queue("mails")], callbacks=[self.on_mail])]

        def on_mail(self, body, message):
            send(body)
            message.ack()

    Mails(app.connection_for_read()).run()

Source:
    kombu reference, ``kombu.mixins``: names, arguments, when each is called.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from typing import Any

from umbel.app.connecting.channels import Channel
from umbel.app.connecting.messaging import Connection
from umbel.app.connecting.publishing import Producer
from umbel.app.connecting.received import Consumer, Received
from umbel.utils.log import get_logger

__all__ = ["ConsumerMixin", "ConsumerProducerMixin"]

logger = get_logger("kombu.mixins")

_LOOK = 1.0
"""Seconds between two looks at ``should_stop``."""

_Consuming = tuple[Connection, Channel, tuple[Any, ...]]


class ConsumerMixin:
    """Consumes with the consumers of :meth:`get_consumers`, and connects again when the connection
    is lost. To be given a ``connection``."""

    connection: Any
    connect_max_retries: int | None = None
    """How often connecting is tried again; None: until it succeeds."""
    should_stop = False
    """Ends :meth:`run` within a second."""

    def get_consumers(self, Consumer: Any, channel: Any) -> Iterable[Any]:  # noqa: N803 - kombu's
        """The consumers, made with ``Consumer(queues=…, callbacks=…)``; to be overridden."""
        raise NotImplementedError("Subclass responsibility")

    def on_connection_revived(self) -> None:
        """The connection is there (again); to be overridden, as is what follows."""

    def on_consume_ready(
        self, connection: Any, channel: Any, consumers: Any, **kwargs: Any
    ) -> None:
        """Messages come from now on; ``kwargs`` are those of :meth:`run`."""

    def on_consume_end(self, connection: Any, channel: Any) -> None:
        """No more messages come."""

    def on_iteration(self) -> None:
        """Called before each message, and every second without one."""

    def on_decode_error(self, message: Received, exc: Exception) -> None:
        """A message cannot be read: it is logged, and done with."""
        logger.error(
            "Can't decode message body: %r (type:%r encoding:%r raw:%r')",
            exc,
            message.content_type,
            message.content_encoding,
            message.body,
        )
        message.ack()

    def on_connection_error(self, exc: Exception, interval: float) -> None:
        """The broker cannot be reached, and is asked again after ``interval`` seconds."""
        logger.warning(
            "Broker connection error, trying again in %s seconds: %r.", interval, exc, exc_info=exc
        )

    @contextmanager
    def extra_context(self, connection: Any, channel: Any) -> Generator[None]:
        """Entered while messages come."""
        yield

    def run(self, _tokens: int = 1, **kwargs: Any) -> None:
        """Consume until :attr:`should_stop`."""
        began = -1.0
        while not self.should_stop:
            # A connection that is lost as soon as it is there must not keep a processor busy.
            time.sleep(max(0.0, began + 1.0 - time.monotonic()) if began > 0 else 0.0)
            began = time.monotonic()
            try:
                for _ in self.consume(limit=None, **kwargs):
                    pass
            except (*self.connection_errors, *self.channel_errors):
                logger.warning(
                    "Connection to broker lost, trying to re-establish connection...",
                    exc_info=True,
                )

    def consume(
        self,
        limit: int | None = None,
        timeout: float | None = None,
        safety_interval: float = _LOOK,
        **kwargs: Any,
    ) -> Generator[None]:
        """Consume; yields after each message.

        Args:
            limit: How many messages.
            timeout: Seconds without one after which it ends with ``TimeoutError``.
        """
        waited, count = 0.0, 0
        with self.consumer_context(**kwargs) as (connection, _, _):
            while not self.should_stop and (not limit or count < limit):
                self.on_iteration()
                try:
                    connection.drain_events(timeout=safety_interval)
                except TimeoutError:
                    waited += safety_interval
                    if timeout and waited >= timeout:
                        raise
                else:
                    count += 1
                    waited = 0.0
                    yield

    @contextmanager
    def consumer_context(self, **kwargs: Any) -> Generator[_Consuming]:
        """While messages come: connection, channel and consumers."""
        with (
            self.Consumer() as (connection, channel, consumers),
            self.extra_context(connection, channel),
        ):
            self.on_consume_ready(connection, channel, consumers, **kwargs)
            yield connection, channel, consumers

    @contextmanager
    def Consumer(self) -> Generator[_Consuming]:  # noqa: N802 - kombu's name
        """As :meth:`consumer_context`, without calling :meth:`on_consume_ready`."""
        with self.establish_connection() as connection:
            self.on_connection_revived()
            logger.info("Connected to %s", connection.as_uri())
            channel = connection.default_channel
            make = partial(Consumer, channel, on_decode_error=self.on_decode_error)
            with ExitStack() as stack:
                made = tuple(self.get_consumers(make, channel))
                yield connection, channel, tuple(map(stack.enter_context, made))
            self.on_consume_end(connection, channel)

    def create_connection(self) -> Connection:
        """What it consumes over: another one like :attr:`connection`."""
        made: Connection = self.connection.clone()
        return made

    @contextmanager
    def establish_connection(self) -> Generator[Connection]:
        """Wait until the broker can be reached."""
        with self.create_connection() as connection:
            connection.ensure_connection(self.on_connection_error, self.connect_max_retries)
            yield connection

    @property
    def connection_errors(self) -> tuple[type[Exception], ...]:
        """What is raised when the connection is lost."""
        errors: tuple[type[Exception], ...] = self.connection.connection_errors
        return errors

    @property
    def channel_errors(self) -> tuple[type[Exception], ...]:
        """What is raised when the broker refuses something."""
        errors: tuple[type[Exception], ...] = self.connection.channel_errors
        return errors


class ConsumerProducerMixin(ConsumerMixin):
    """One that publishes, too: ``self.producer.publish(…)``."""

    @property
    def producer(self) -> Producer:
        """What publishes."""
        return Producer(self.producer_connection)

    @cached_property
    def producer_connection(self) -> Connection:
        """What it publishes over."""
        made: Connection = self.connection.clone()
        return made
