"""Where names live here that documentation puts into what comes with Celery: amqp, billiard, kombu,
vine.

Source:
    The reference of kombu, as far as Celery's user guide uses it; names that other packages import.
"""

from __future__ import annotations

from umbel.compat.rows import each

__all__ = ["HOMES", "NAMES"]

HOMES: dict[str, str] = {
    "amqp": "",
    "amqp.exceptions": "",
    "billiard": "",
    "billiard.einfo": "",
    "billiard.exceptions": "",
    "billiard.pool": "",
    "kombu": "",
    "kombu.common": "",
    "kombu.asynchronous": "",
    "kombu.asynchronous.hub": "umbel.worker.steps.hub",
    "kombu.asynchronous.timer": "umbel.compat.utils.timer2",
    "kombu.connection": "",
    "kombu.entity": "",
    "kombu.message": "",
    "kombu.messaging": "",
    "kombu.mixins": "umbel.compat.kombu.mixins",
    "kombu.pools": "",
    "kombu.simple": "umbel.app.connecting.simple",
    "kombu.log": "",
    "vine": "umbel.compat.promises",
    "kombu.exceptions": "",
    "kombu.serialization": "",
    "kombu.utils": "",
    "kombu.utils.compat": "",
    "kombu.utils.encoding": "",
    "kombu.utils.functional": "",
    "kombu.utils.imports": "",
    "kombu.utils.json": "",
    "kombu.utils.objects": "",
    "kombu.utils.url": "",
    "kombu.utils.uuid": "",
}

_RELEASE = "umbel.compat.release:"
_FUNCTIONAL = "umbel.utils.functional:"
_NEW_ID = "umbel.app.sending.ids:new_id"

NAMES: dict[str, str] = {
    **each(
        "amqp.exceptions",
        AMQPError="umbel.exceptions:OperationalError",
        ChannelError="umbel.exceptions:QueueConflict",
        ConnectionError="umbel.exceptions:BrokerUnavailable",
    ),
    "billiard.VERSION": f"{_RELEASE}BILLIARD",
    **each(
        "billiard.einfo",
        ExceptionInfo="umbel.execution.failures:ExceptionInfo",
        ExceptionWithTraceback="umbel.compat.moved:ExceptionWithTraceback",
    ),
    **each(
        "billiard.exceptions",
        SoftTimeLimitExceeded="umbel.exceptions:SoftTimeLimitExceeded",
        Terminated="umbel.exceptions:Terminated",
        TimeLimitExceeded="umbel.exceptions:TimeLimitExceeded",
        WorkerLostError="umbel.exceptions:WorkerLostError",
    ),
    "billiard.pool.Worker": "umbel.pools.prefork.child:Child",
    **each(
        "kombu",
        Connection="umbel.app.connecting.messaging:Connection",
        Consumer="umbel.app.connecting.received:Consumer",
        Exchange="umbel:Exchange",
        Message="umbel.app.connecting.received:Received",
        Producer="umbel.app.connecting.messaging:Producer",
        Queue="umbel:Queue",
        binding="umbel.model:Binding",
    ),
    "kombu.connection.Connection": "umbel.app.connecting.messaging:Connection",
    "kombu.message.Message": "umbel.app.connecting.received:Received",
    **each(
        "kombu.messaging",
        Consumer="umbel.app.connecting.received:Consumer",
        Producer="umbel.app.connecting.messaging:Producer",
    ),
    **each(
        "kombu.common",
        Broadcast="umbel:Broadcast",
        uuid=_NEW_ID,
        **{
            name: f"umbel.compat.kombu.common:{name}"
            for name in (
                *("drain_consumer", "eventloop", "ignore_errors", "itermessages"),
                "maybe_declare",
            )
        },
    ),
    **each(
        "kombu.pools",
        **{
            name: f"umbel.compat.kombu.common:{name}"
            for name in ("PoolGroup", "connections", "producers", "reset")
        },
    ),
    "kombu.log.get_logger": "umbel.utils.log:get_logger",
    "kombu.asynchronous.Hub": "umbel.worker.steps.hub:Hub",
    **each(
        "kombu.entity",
        Exchange="umbel:Exchange",
        Queue="umbel:Queue",
        binding="umbel.model:Binding",
    ),
    **each(
        "kombu.exceptions",
        ChannelError="umbel.exceptions:QueueConflict",
        ConnectionError="umbel.exceptions:BrokerUnavailable",
        ContentDisallowed="umbel.exceptions:ContentDisallowed",
        DecodeError="umbel.exceptions:DecodeError",
        EncodeError="umbel.exceptions:EncodeError",
        NotBoundError="umbel.exceptions:NotBoundError",
        OperationalError="umbel.exceptions:OperationalError",
        TimeoutError="builtins:TimeoutError",
    ),
    **each(
        "kombu.serialization",
        dumps="umbel.compat.texts:serialized",
        loads="umbel.compat.texts:deserialized",
        register="umbel.serialization.registry:register",
        unregister="umbel.serialization.registry:unregister",
    ),
    **each(
        "kombu.utils",
        cached_property="umbel.utils.objects:cached_property",
        symbol_by_name="umbel.utils.imports:symbol_by_name",
        uuid=_NEW_ID,
    ),
    **each(
        "kombu.utils.compat",
        register_after_fork="umbel.compat.utils.functional:register_after_fork",
    ),
    **each(
        "kombu.utils.encoding",
        bytes_to_str="umbel.compat.texts:bytes_to_str",
        safe_repr="umbel.utils.saferepr:saferepr",
        safe_str="umbel.compat.texts:safe_str",
        str_to_bytes="umbel.compat.texts:str_to_bytes",
    ),
    **each(
        "kombu.utils.functional",
        **{
            name: _FUNCTIONAL + name
            for name in (
                *("LRUCache", "dictfilter", "is_list", "lazy"),
                *("maybe_evaluate", "maybe_list", "memoize"),
            )
        },
    ),
    **each("kombu.utils.imports", symbol_by_name="umbel.utils.imports:symbol_by_name"),
    **each(
        "kombu.utils.json",
        dumps="umbel.compat.texts:json_dumps",
        loads="umbel.compat.texts:json_loads",
        register_type="umbel.serialization.json:register_type",
    ),
    **each("kombu.utils.objects", cached_property="umbel.utils.objects:cached_property"),
    **each(
        "kombu.utils.url",
        maybe_sanitize_url="umbel.app.connecting.urls:safe_url",
        safequote="umbel.compat.texts:safequote",
    ),
    **each("kombu.utils.uuid", uuid=_NEW_ID),
}
