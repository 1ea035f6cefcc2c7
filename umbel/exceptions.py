"""Every exception umbel raises.

::

    Exception
    ├── UmbelError (= CeleryError)
    │   ├── ImproperlyConfigured
    │   │   ├── UnknownSetting          no setting of that name
    │   │   ├── InvalidSetting          a value of the wrong type, or a choice that does not exist
    │   │   └── UnsupportedSetting      known, but not implemented (yet): says so by name
    │   ├── SecurityError
    │   │   ├── ContentDisallowed       a content type that accept_content does not name
    │   │   └── TooLarge                unpacks to more than the bound
    │   ├── TaskPredicate               raised by tasks to say what becomes of them
    │   │   ├── Ignore
    │   │   ├── Reject
    │   │   └── Retry
    │   ├── TaskError
    │   │   ├── QueueNotFound           (also a KeyError)
    │   │   ├── NotRegistered           (also a KeyError)
    │   │   ├── AlreadyRegistered
    │   │   ├── TimeoutError
    │   │   ├── MaxRetriesExceededError
    │   │   ├── TaskRevokedError
    │   │   ├── InvalidTaskError
    │   │   ├── ChordError
    │   │   └── IncompleteStream
    │   ├── EncodeError                 a value that the serializer cannot write
    │   ├── DecodeError                 bytes that the serializer cannot read
    │   ├── QueueConflict               a queue exists with other properties
    │   ├── BatchError                  some items of a batch were refused
    │   ├── NotBoundError               a queue or exchange has no channel to go over
    │   └── OperationalError            the broker cannot be reached
    │       └── BrokerUnavailable
    │           └── BrokerBlocked       it takes no messages at the moment
    ├── BackendError
    │   ├── BackendGetMetaError
    │   ├── BackendStoreError
    │   └── BackendUnavailable          the result backend cannot be reached
    │       └── BackendClosed           this process has closed it
    ├── SoftTimeLimitExceeded
    ├── TimeLimitExceeded
    ├── WorkerLostError
    └── Terminated
    TaskCancelled                       (a BaseException)
    SystemExit
    ├── WorkerShutdown
    └── WorkerTerminate

Source:
    Celery reference, ``celery.exceptions``: names, bases, arguments.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from datetime import datetime

__all__ = [
    "AlreadyRegistered",
    "AlwaysEagerIgnored",
    "BackendClosed",
    "BackendError",
    "BackendGetMetaError",
    "BackendStoreError",
    "BackendUnavailable",
    "BatchError",
    "BrokerBlocked",
    "BrokerUnavailable",
    "CDeprecationWarning",
    "CPendingDeprecationWarning",
    "CeleryError",
    "CeleryWarning",
    "ChordError",
    "ContentDisallowed",
    "DecodeError",
    "DuplicateNodenameWarning",
    "DuplicateTaskNameWarning",
    "EncodeError",
    "FixupWarning",
    "Ignore",
    "ImproperlyConfigured",
    "IncompleteStream",
    "InvalidSetting",
    "InvalidTaskError",
    "MaxRetriesExceededError",
    "NotBoundError",
    "NotConfigured",
    "NotRegistered",
    "OperationalError",
    "QueueConflict",
    "QueueNotFound",
    "Reject",
    "Retry",
    "RetryTaskError",
    "SecurityError",
    "SecurityWarning",
    "SoftTimeLimitExceeded",
    "SystemTerminate",
    "TaskCancelled",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "Terminated",
    "TimeLimitExceeded",
    "TimeoutError",
    "TooLarge",
    "UmbelError",
    "UmbelWarning",
    "UnknownSetting",
    "UnsupportedSetting",
    "WorkerLostError",
    "WorkerShutdown",
    "WorkerTerminate",
]


class UmbelWarning(UserWarning):
    """The base of all warnings."""


CeleryWarning = UmbelWarning


class AlwaysEagerIgnored(UmbelWarning):
    """``send_task`` ignores ``task_always_eager``."""


class DuplicateNodenameWarning(UmbelWarning):
    """Two workers share one node name."""


class DuplicateTaskNameWarning(UmbelWarning):
    """Two tasks share one name."""


class FixupWarning(UmbelWarning):
    """An integration could not be set up as asked."""


class NotConfigured(UmbelWarning):
    """There is no configuration module."""


class SecurityWarning(UmbelWarning):
    """Something is allowed that is better not allowed."""


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """Will be deprecated."""


class CDeprecationWarning(DeprecationWarning):
    """Deprecated."""


class UmbelError(Exception):
    """The base of all errors that are not the worker's own doing."""


CeleryError = UmbelError


class ImproperlyConfigured(UmbelError):
    """The configuration makes no sense."""


class UnknownSetting(ImproperlyConfigured):
    """There is no setting of that name."""


class InvalidSetting(ImproperlyConfigured):
    """A setting has a value it cannot have."""


class UnsupportedSetting(ImproperlyConfigured):
    """A setting asks for something that this release does not do."""


class SecurityError(UmbelError):
    """Something was refused for safety."""


class ContentDisallowed(SecurityError):
    """A message or result has a content type that ``accept_content`` does not name."""


class TooLarge(SecurityError):
    """Something compressed unpacks to more than the bound."""


class TaskPredicate(UmbelError):
    """Raised by a task to say what becomes of it."""


class Ignore(TaskPredicate):
    """Record nothing: the task has taken care of its own state."""


class Reject(TaskPredicate):
    """Drop the message, or give it back to the broker."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class Retry(TaskPredicate):
    """The task is to be run again."""

    message: str | None = None
    exc: BaseException | None = None
    """What made the task retry, if anything did."""
    when: datetime | float | None = None
    """When the next attempt is due: a moment, or seconds from now."""

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: datetime | float | None = None,
        is_eager: bool = False,
        sig: object = None,
        **kwargs: object,
    ) -> None:
        self.message = message
        if isinstance(exc, str):
            self.exc = None
            self.excs: str | None = exc
        else:
            self.exc = exc
            self.excs = None if exc is None else repr(exc)
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(self, exc, when, **kwargs)

    def humanize(self) -> str:
        """When, in words.

        >>> Retry(when=3).humanize()
        'in 3s'
        """
        if isinstance(self.when, int | float):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.excs:
            return f"Retry {self.humanize()}: {self.excs}"
        return f"Retry {self.humanize()}"

    def __reduce__(self) -> tuple[type[Retry], tuple[object, ...]]:
        exc = self.excs if self.exc is None else self.exc
        return self.__class__, (self.message, exc, self.when)


RetryTaskError = Retry


class TaskError(UmbelError):
    """Something about a task is wrong."""


class QueueNotFound(KeyError, TaskError):
    """A task was routed to a queue that does not exist."""


class IncompleteStream(TaskError):
    """A stream of results ended early."""


class NotRegistered(KeyError, TaskError):
    """There is no task of that name here."""

    def __repr__(self) -> str:
        return f"Task of kind {self} never registered, please make sure it's imported."


class AlreadyRegistered(TaskError):
    """There is a task of that name already."""


class TimeoutError(TaskError):
    """The result was not there in time."""


class MaxRetriesExceededError(TaskError):
    """The task has been tried as often as it may be."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.task_args = kwargs.pop("task_args", ())
        self.task_kwargs = kwargs.pop("task_kwargs", {})
        super().__init__(*args, **kwargs)


class TaskRevokedError(TaskError):
    """The task was revoked, or had expired."""


class InvalidTaskError(TaskError):
    """The message is not one of a task."""


class ChordError(TaskError):
    """A member of a chord failed, or its callback could not be sent."""


class EncodeError(UmbelError):
    """A value cannot be serialized; says which, and where it sits."""


class DecodeError(UmbelError):
    """Bytes cannot be deserialized."""


class QueueConflict(UmbelError):
    """A queue of that name exists with other properties."""


class BatchError(UmbelError):
    """Some items of a batch were refused; the others are in."""

    def __init__(self, message: str, errors: Mapping[int, Exception]) -> None:
        self.errors = errors
        """Index in the batch → why."""
        super().__init__(message, errors)

    def __str__(self) -> str:
        return str(self.args[0])


class NotBoundError(UmbelError):
    """A queue or an exchange is to do something, and has no channel to go over."""


class OperationalError(UmbelError):
    """The broker cannot be reached, or refuses."""


class BrokerUnavailable(OperationalError):
    """No connection to the broker; nothing is known about what was asked of it."""


class BrokerBlocked(BrokerUnavailable):
    """The broker takes no messages at the moment, and says why: it is short of memory, say."""


class BackendError(Exception):
    """The result backend fails."""


class BackendGetMetaError(BackendError):
    """A result cannot be read."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.task_id = kwargs.get("task_id", "")
        super().__init__(*args)


class BackendStoreError(BackendError):
    """A result cannot be stored."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.state = kwargs.get("state", "")
        self.task_id = kwargs.get("task_id", "")
        super().__init__(*args)


class BackendUnavailable(BackendError):
    """No connection to the result backend; nothing is known about what was asked of it."""


class BackendClosed(BackendUnavailable):
    """The result backend was closed by this process while somebody waited for results."""


class SoftTimeLimitExceeded(Exception):
    """Raised inside a task that has run for its soft time limit."""

    def __str__(self) -> str:
        return f"SoftTimeLimitExceeded{self.args}"


class TaskCancelled(BaseException):
    """Raised inside a task that is to end now, where its pool has no process to kill: it was
    terminated, or has run for its hard time limit.

    Not an ``Exception``, so that a task that catches those ends all the same. Celery has no such
    thing: its pools without processes let such tasks run.
    """


class TimeLimitExceeded(Exception):
    """A task has run for its hard time limit; its process is gone."""

    def __str__(self) -> str:
        return f"TimeLimitExceeded{self.args}"


class WorkerLostError(Exception):
    """The process that ran the task is gone."""


class Terminated(Exception):
    """The process was told to end."""


class WorkerTerminate(SystemExit):
    """Ends the worker at once."""


SystemTerminate = WorkerTerminate


class WorkerShutdown(SystemExit):
    """Ends the worker once what runs has finished."""


def reraise(tp: object, value: BaseException, tb: object = None) -> builtins.object:
    """Raise ``value``, of type ``tp``, with the traceback ``tb``."""
    del tp  # documented, and known from the value
    if value.__traceback__ is not tb:
        raise value.with_traceback(tb)  # type: ignore[arg-type]  # documented as untyped
    raise value
