"""Signals: tell whoever connected that something happens, at the documented moments.

::

    @task_failure.connect(sender=add)
    def alarm(sender, task_id, exception, **kwargs): ...

Every receiver accepts ``**kwargs`` and gets ``signal`` and ``sender`` beside the signal's own
arguments. Where signals are sent per task, ``if signal.receivers`` keeps the cost away from those
who listen to nothing.

Source:
    Celery user guide, "Signals": names, senders, arguments.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Hashable, Iterable
from threading import RLock
from types import MethodType
from typing import Any, TypeAlias, TypeVar, overload

__all__ = [
    "Signal",
    "after_setup_logger",
    "after_setup_task_logger",
    "after_task_publish",
    "beat_embedded_init",
    "beat_init",
    "before_task_publish",
    "celeryd_after_setup",
    "celeryd_init",
    "eventlet_pool_apply",
    "eventlet_pool_postshutdown",
    "eventlet_pool_preshutdown",
    "eventlet_pool_started",
    "heartbeat_sent",
    "import_modules",
    "setup_logging",
    "task_failure",
    "task_internal_error",
    "task_postrun",
    "task_prerun",
    "task_received",
    "task_rejected",
    "task_retry",
    "task_revoked",
    "task_sent",
    "task_success",
    "task_unknown",
    "user_preload_options",
    "worker_before_create_process",
    "worker_init",
    "worker_process_init",
    "worker_process_shutdown",
    "worker_ready",
    "worker_shutdown",
    "worker_shutting_down",
]

logger = logging.getLogger(__name__)

Receiver: TypeAlias = Callable[..., Any]
_R = TypeVar("_R", bound=Receiver)

_TRIES = 8
"""How often a receiver connected with ``retry=True`` is tried before it is given up."""
_LONGEST_WAIT = 30.0
"""Seconds; no wait between two tries is longer."""
_TAKES_KEYWORDS = 0x08
"""The flag of a code object with ``**kwargs``; the inspect module would cost 8 ms to import."""


class _Listener:
    """One receiver, and for whom it listens."""

    __slots__ = ("key", "receiver", "sender")

    def __init__(
        self, key: Hashable, sender: Hashable | None, receiver: Callable[[], Receiver | None]
    ) -> None:
        self.key = key
        self.sender = sender
        self.receiver = receiver


class Signal:
    """Something that can be listened to. Thread-safe."""

    def __init__(
        self,
        providing_args: Iterable[str] | None = None,
        use_caching: bool = False,
        name: str | None = None,
    ) -> None:
        self.name = name
        self.providing_args = frozenset(providing_args or ())
        """What receivers are given, beside ``signal`` and ``sender``."""
        self.receivers: list[_Listener] = []
        """Who listens. Replaced, never edited, so that it can be read without the lock."""
        # Reentrant: the collector may drop a receiver, and so call _forget, while we hold it.
        self._lock = RLock()

    @overload
    def connect(
        self,
        receiver: _R,
        sender: object = None,
        weak: bool = True,
        dispatch_uid: Hashable | None = None,
        retry: bool = False,
    ) -> _R: ...

    @overload
    def connect(
        self,
        receiver: None = None,
        sender: object = None,
        weak: bool = True,
        dispatch_uid: Hashable | None = None,
        retry: bool = False,
    ) -> Callable[[_R], _R]: ...

    def connect(
        self,
        receiver: Receiver | None = None,
        sender: object = None,
        weak: bool = True,
        dispatch_uid: Hashable | None = None,
        retry: bool = False,
    ) -> Any:
        """Call ``receiver`` whenever the signal is sent. Also a decorator, with or without options.

        Args:
            sender: Listen to this sender only; a string matches by value, all else by identity.
            weak: Do not keep the receiver alive: it is forgotten when nobody else holds it.
            dispatch_uid: What tells this connection from others; connecting twice with the same
                one is connecting once. Otherwise the receiver itself does.
            retry: Call the receiver again, up to eight times at growing intervals, while it
                raises. Blocks the sender meanwhile.
        """
        if receiver is None:

            def connected(function: Receiver) -> Receiver:
                return self.connect(function, sender, weak, dispatch_uid, retry)

            return connected
        _check(receiver)
        identity = _identify(sender)
        key = (_identify(receiver) if dispatch_uid is None else dispatch_uid, identity)
        listener = _Listener(key, identity, self._reference(receiver, key, weak=weak, retry=retry))
        with self._lock:
            if all(other.key != key for other in self.receivers):
                self.receivers = [*self.receivers, listener]
        return receiver

    def disconnect(
        self,
        receiver: Receiver | None = None,
        sender: object = None,
        weak: bool | None = None,
        dispatch_uid: Hashable | None = None,
    ) -> bool:
        """Stop calling ``receiver``, or what was connected as ``dispatch_uid``.

        Returns whether there was such a connection.
        """
        first = _identify(receiver) if dispatch_uid is None else dispatch_uid
        return self._forget((first, _identify(sender)))

    def has_listeners(self, sender: object = None) -> bool:
        """Whether anybody listens to ``sender``."""
        return bool(self.receivers) and bool(self._live_receivers(sender))

    def send(self, sender: object, **named: Any) -> list[tuple[Receiver, object]]:
        """Call every receiver; returns what each answered.

        A receiver that raises is logged; its exception stands for its answer, and the others are
        called all the same.
        """
        responses: list[tuple[Receiver, object]] = []
        if not self.receivers:
            return responses
        for receiver in self._live_receivers(sender):
            try:
                response = receiver(signal=self, sender=sender, **named)
            except Exception as exc:
                # The exception is in the line, not only in the traceback: people search for it.
                logger.exception("Signal handler %r raised: %r", receiver, exc)  # noqa: TRY401
                response = exc
            responses.append((receiver, response))
        return responses

    send_robust = send

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name or '(unnamed)'}>"

    def _live_receivers(self, sender: object) -> list[Receiver]:
        identity = _identify(sender)
        found = [
            listener.receiver()
            for listener in self.receivers
            if listener.sender is None or listener.sender == identity
        ]
        return [receiver for receiver in found if receiver is not None]

    def _reference(
        self, receiver: Receiver, key: Hashable, *, weak: bool, retry: bool
    ) -> Callable[[], Receiver | None]:
        if not weak:
            strong = _patient(receiver) if retry else receiver
            return lambda: strong

        def forget(_: object) -> None:
            self._forget(key)

        reference: Callable[[], Receiver | None]
        if isinstance(receiver, MethodType):
            # Not a WeakMethod: one that dies together with its object, as at the end of an
            # interpreter, complains.
            owner, function = weakref.ref(receiver.__self__, forget), receiver.__func__

            def bound() -> Receiver | None:
                alive = owner()
                return None if alive is None else MethodType(function, alive)

            reference = bound
        else:
            reference = weakref.ref(receiver, forget)
        if not retry:
            return reference

        def patient() -> Receiver | None:
            alive = reference()
            return None if alive is None else _patient(alive)

        return patient

    def _forget(self, key: Hashable) -> bool:
        with self._lock:
            before = len(self.receivers)
            self.receivers = [listener for listener in self.receivers if listener.key != key]
            return len(self.receivers) < before


def _identify(target: object) -> Hashable | None:
    """What a sender or receiver is recognised by: strings by value, the rest by identity."""
    if target is None or isinstance(target, str):
        return target
    if isinstance(target, MethodType):
        return id(target.__self__), id(target.__func__)
    return id(target)


def _check(receiver: Receiver) -> None:
    if not callable(receiver):
        msg = f"{receiver!r} cannot receive signals: it is not callable."
        raise TypeError(msg)
    code = getattr(receiver, "__code__", None)
    if code is not None and not code.co_flags & _TAKES_KEYWORDS:
        msg = f"{receiver!r} cannot receive signals: it must accept **kwargs, signals may grow."
        raise ValueError(msg)


def _patient(receiver: Receiver) -> Receiver:
    """Wrap ``receiver`` so that it is tried until it stops raising, within bounds."""

    def tried(**named: Any) -> object:
        wait = 0.5
        for _ in range(_TRIES - 1):
            try:
                return receiver(**named)
            except Exception as exc:  # noqa: BLE001 - whatever a receiver raises is tried again
                logger.warning("Signal handler %r raised: %r; again in %ss", receiver, exc, wait)
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        return receiver(**named)

    return tried


before_task_publish = Signal(
    ("body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"),
    name="before_task_publish",
)
"""A task message is about to be published. Sender: the task's name.

Args: body, exchange, routing_key, headers, properties, declare, retry_policy.
"""

after_task_publish = Signal(
    ("body", "exchange", "routing_key", "headers"), name="after_task_publish"
)
"""A task message was published. Sender: the task's name.

Args: body, exchange, routing_key, headers.
"""

task_received = Signal(("request",), name="task_received")
"""A worker has received a task. Sender: the worker. Args: request."""

task_prerun = Signal(("task_id", "task", "args", "kwargs"), name="task_prerun")
"""A task is about to run. Sender: the task. Args: task_id, task, args, kwargs."""

task_postrun = Signal(("task_id", "task", "args", "kwargs", "retval", "state"), name="task_postrun")
"""A task has run, well or badly. Sender: the task.

Args: task_id, task, args, kwargs, retval (or the exception), state.
"""

task_success = Signal(("result", "runtime"), name="task_success")
"""A task succeeded. Sender: the task. Args: result, runtime (seconds)."""

task_retry = Signal(("request", "reason", "einfo"), name="task_retry")
"""A task is to be tried again. Sender: the task. Args: request, reason, einfo."""

task_failure = Signal(
    ("task_id", "exception", "args", "kwargs", "traceback", "einfo"), name="task_failure"
)
"""A task failed. Sender: the task. Args: task_id, exception, args, kwargs, traceback, einfo."""

task_internal_error = Signal(
    ("task_id", "args", "kwargs", "request", "exception", "traceback", "einfo"),
    name="task_internal_error",
)
"""What runs around a task failed: a handler, an encoder. Sender: the task.

Args: task_id, args, kwargs, request, exception, traceback, einfo.
"""

task_revoked = Signal(("request", "terminated", "signum", "expired"), name="task_revoked")
"""A task was revoked, terminated or had expired. Sender: the task.

Args: request, terminated, signum, expired.
"""

task_rejected = Signal(("message", "exc"), name="task_rejected")
"""A worker received a message it cannot read. Sender: the worker. Args: message, exc."""

task_unknown = Signal(("message", "exc", "name", "id"), name="task_unknown")
"""A worker received a task it does not know. Sender: the worker. Args: message, exc, name, id."""

task_sent = Signal(("task_id", "task", "args", "kwargs", "eta", "taskset"), name="task_sent")
"""Deprecated: use :data:`after_task_publish`. Args: task_id, task, args, kwargs, eta, taskset."""

celeryd_init = Signal(("instance", "conf", "options"), name="celeryd_init")
"""A worker is about to be made. Sender: its host name. Args: instance, conf, options."""

celeryd_after_setup = Signal(("instance", "conf"), name="celeryd_after_setup")
"""A worker is made but has not started. Sender: its host name. Args: instance, conf."""

import_modules = Signal(name="import_modules")
"""Task modules are to be imported. Sender: the app."""

worker_init = Signal(name="worker_init")
"""A worker is about to start. Sender: the worker."""

worker_before_create_process = Signal(name="worker_before_create_process")
"""A pool is about to start a child process, in the parent. Sender: the pool."""

worker_process_init = Signal(name="worker_process_init")
"""A child process has started, in the child. Sender: the worker's host name."""

worker_process_shutdown = Signal(("pid", "exitcode"), name="worker_process_shutdown")
"""A child process is about to end, in the child. Sender: the worker's host name.

Args: pid, exitcode.
"""

worker_ready = Signal(name="worker_ready")
"""A worker accepts tasks. Sender: the worker."""

worker_shutdown = Signal(name="worker_shutdown")
"""A worker has ended. Sender: the worker."""

worker_shutting_down = Signal(("sig", "how", "exitcode"), name="worker_shutting_down")
"""A worker was told to end. Sender: its host name. Args: sig, how, exitcode."""

heartbeat_sent = Signal(name="heartbeat_sent")
"""A worker has sent a heartbeat. Sender: the heart."""

setup_logging = Signal(("loglevel", "logfile", "format", "colorize"), name="setup_logging")
"""Logging is to be set up; whoever connects does it instead of umbel. Sender: None.

Args: loglevel, logfile, format, colorize.
"""

after_setup_logger = Signal(
    ("logger", "loglevel", "logfile", "format", "colorize"), name="after_setup_logger"
)
"""The root logger is set up. Sender: None. Args: logger, loglevel, logfile, format, colorize."""

after_setup_task_logger = Signal(
    ("logger", "loglevel", "logfile", "format", "colorize"), name="after_setup_task_logger"
)
"""The tasks' logger is set up. Sender: None. Args: logger, loglevel, logfile, format, colorize."""

beat_init = Signal(name="beat_init")
"""A scheduler starts, by itself or inside a worker. Sender: the service."""

beat_embedded_init = Signal(name="beat_embedded_init")
"""A scheduler starts inside a worker. Sender: the service."""

eventlet_pool_started = Signal(name="eventlet_pool_started")
"""An eventlet pool has started. Sender: the pool."""

eventlet_pool_preshutdown = Signal(name="eventlet_pool_preshutdown")
"""An eventlet pool is about to stop. Sender: the pool."""

eventlet_pool_postshutdown = Signal(name="eventlet_pool_postshutdown")
"""An eventlet pool has stopped. Sender: the pool."""

eventlet_pool_apply = Signal(("target", "args", "kwargs"), name="eventlet_pool_apply")
"""An eventlet pool was given something to run. Sender: the pool. Args: target, args, kwargs."""

user_preload_options = Signal(("app", "options"), name="user_preload_options")
"""A command has read the app's own preload options. Sender: the command. Args: app, options."""
