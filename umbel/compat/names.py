"""Where a name that Celery's documentation puts somewhere lives here.

A documented module is a row of :data:`HOMES`: it has the public names (``__all__``) of the modules
on the right. A name that lives elsewhere, or is called otherwise here, is a row of :data:`NAMES`,
and wins over its module's row.

Source:
    Celery 5.7 reference and internals reference: paths and names.
"""

from __future__ import annotations

from collections.abc import Iterator

from umbel.compat import beside
from umbel.compat.rows import each, within

__all__ = ["HOMES", "NAMES", "REPLACEABLE", "is_package", "submodules"]


_CONSUMER = (
    *("agent", "connection", "consumer", "control", "events", "gossip"),
    *("heart", "mingle", "tasks"),
)
"""The modules of Celery's consumer."""

_APP = {
    "celery": "umbel",
    "celery._state": "",
    "celery.app": "",
    "celery.app.annotations": "umbel.compat.app.annotations",
    "celery.app.autoretry": "",
    "celery.app.amqp": "umbel.app.amqp umbel.app.sending.tasks_as_dicts",
    "celery.app.backends": "umbel.app.backends.finding",
    "celery.app.base": "umbel.app.base",
    "celery.app.builtins": "",
    "celery.app.control": "umbel.app.control umbel.app.operating.inspection",
    "celery.app.defaults": "umbel.compat.app.defaults",
    "celery.app.events": "umbel.app.events",
    "celery.app.log": "umbel.app.log",
    "celery.app.registry": "umbel.app.registry",
    "celery.app.routes": "umbel.compat.app.routes",
    "celery.app.task": "umbel.app.task",
    "celery.app.trace": "",
    "celery.app.utils": "",
    "celery.apps": "",
    "celery.apps.beat": "",
    "celery.apps.multi": "umbel.cli.cluster",
    "celery.apps.worker": "",
    "celery.backends": "",
    "celery.backends.base": "umbel.app.backends",
    "celery.beat": "umbel.beat umbel.compat.beat",
    "celery.bootsteps": "umbel.worker.bootsteps",
    "celery.canvas": "umbel.canvas",
    "celery.exceptions": "umbel.exceptions",
    "celery.execute": "",
    "celery.fixups": "",
    "celery.fixups.django": "umbel.contrib.django.fixup",
    "celery.loaders": "",
    "celery.loaders.app": "",
    "celery.loaders.base": "",
    "celery.loaders.default": "",
    "celery.local": "umbel.compat.local",
    "celery.platforms": within(
        "umbel.compat.platforms", "machine users pidfile background signals titles"
    ),
    "celery.registry": "",
    "celery.result": "umbel.result",
    "celery.schedules": "umbel.schedules",
    "celery.security": "",
    "celery.security.certificate": "umbel.security.certificate",
    "celery.security.key": "umbel.security.key",
    "celery.security.serialization": "umbel.security.serialization",
    "celery.security.utils": "umbel.compat.security",
    "celery.signals": "umbel.signals",
    "celery.states": "umbel.states umbel.compat.utils.functional",
    "celery.concurrency": "umbel.compat.concurrency",
    **{
        f"celery.concurrency.{name}": ""
        for name in ("base", "eventlet", "gevent", "prefork", "solo", "thread")
    },
    "celery.worker": "umbel.worker",
    "celery.worker.components": "umbel.compat.worker.components",
    "celery.worker.consumer": "umbel.compat.worker.components",
    **{f"celery.worker.consumer.{name}": "umbel.compat.worker.components" for name in _CONSUMER},
    "celery.worker.strategy": "umbel.worker.strategy",
    "celery.worker.autoscale": "umbel.worker.autoscale",
    "celery.worker.control": "umbel.worker.control",
    "celery.worker.heartbeat": "",
    "celery.worker.request": "umbel.worker.request",
    "celery.worker.state": "umbel.compat.worker.state",
    "celery.worker.worker": "",
}

_CONTRIB = {
    "celery.contrib": "",
    "celery.contrib.abortable": "umbel.contrib.abortable",
    "celery.contrib.django": "",
    "celery.contrib.migrate": "umbel.contrib.migrate",
    "celery.contrib.django.task": "umbel.contrib.django.task",
    "celery.contrib.pytest": "umbel.contrib.pytest",
    "celery.contrib.rdb": "umbel.contrib.rdb",
    "celery.contrib.sphinx": "umbel.contrib.sphinx",
    "celery.contrib.testing": "",
    "celery.contrib.testing.app": "umbel.contrib.testing.app",
    "celery.contrib.testing.manager": "umbel.contrib.testing.manager",
    "celery.contrib.testing.mocks": "umbel.contrib.testing.mocks",
    "celery.contrib.testing.tasks": "umbel.contrib.testing.tasks",
    "celery.contrib.testing.worker": "umbel.contrib.testing.worker",
}

_EVENTS = {
    "celery.events": "umbel.events.event umbel.events.dispatcher umbel.events.receiver",
    "celery.events.cursesmon": "umbel.events.cursesmon",
    "celery.events.dispatcher": "umbel.events.dispatcher",
    "celery.events.dumper": "umbel.events.dumper",
    "celery.events.event": "umbel.events.event",
    "celery.events.receiver": "umbel.events.receiver",
    "celery.events.snapshot": "umbel.events.snapshot",
    "celery.events.state": "umbel.events.state",
}

_UTILS = {
    "celery.utils": "",
    "celery.utils.abstract": "umbel.compat.utils.abstract",
    "celery.utils.collections": within("umbel.compat.utils", "bounded views"),
    "celery.utils.debug": "umbel.compat.utils.debug",
    "celery.utils.deprecated": "umbel.compat.utils.deprecated",
    "celery.utils.dispatch": "",
    "celery.utils.dispatch.signal": "",
    "celery.utils.functional": (
        "umbel.utils.functional umbel.compat.utils.regen umbel.compat.utils.functional"
    ),
    "celery.utils.graph": "umbel.utils.graph umbel.compat.utils.dot",
    "celery.utils.imports": "umbel.utils.imports umbel.compat.utils.imports",
    "celery.utils.iso8601": "",
    "celery.utils.log": "umbel.utils.log umbel.compat.utils.log",
    "celery.utils.nodenames": "umbel.utils.nodenames",
    "celery.utils.objects": "umbel.utils.objects umbel.compat.utils.objects",
    "celery.utils.saferepr": "umbel.utils.saferepr",
    "celery.utils.serialization": "umbel.utils.serialization umbel.compat.utils.serialization",
    "celery.utils.sysinfo": "umbel.utils.sysinfo",
    "celery.utils.term": "umbel.compat.utils.term",
    "celery.utils.text": "umbel.utils.text umbel.compat.utils.text",
    "celery.utils.threads": "umbel.compat.utils.threads",
    "celery.utils.time": "umbel.utils.time umbel.compat.utils.time",
    "celery.utils.timer2": "umbel.compat.utils.timer2",
}

_COMMANDS = {
    "celery.bin": "",
    "celery.bin.amqp": "umbel.cli.amqp",
    "celery.bin.base": within("umbel.compat.bin", "commands context types"),
    "celery.bin.beat": "umbel.cli.beat",
    "celery.bin.call": "",
    "celery.bin.celery": "",
    "celery.bin.control": "umbel.cli.remote",
    "celery.bin.events": "umbel.cli.events",
    "celery.bin.graph": "umbel.cli.graph",
    "celery.bin.list": "",
    "celery.bin.logtool": "umbel.cli.logtool",
    "celery.bin.migrate": "umbel.cli.migrate",
    "celery.bin.multi": "umbel.cli.multi",
    "celery.bin.purge": "",
    "celery.bin.result": "",
    "celery.bin.shell": "umbel.cli.shell",
    "celery.bin.upgrade": "umbel.cli.upgrade",
    "celery.bin.worker": "umbel.cli.worker umbel.compat.bin.types umbel.compat.bin.detaching",
}

HOMES: dict[str, tuple[str, ...]] = {
    module: tuple(homes.split())
    for module, homes in (_APP | _CONTRIB | _EVENTS | _UTILS | _COMMANDS | beside.HOMES).items()
}
"""Module path in Celery, kombu or billiard → modules whose public names it has, if any."""


_RELEASE = "umbel.compat.release:"
_CURRENT = "umbel.app.current:"
_APPS = "umbel.compat.app.apps:"
_LOADER = "umbel.app.configuring.loaders:Loader"
_FUNCTIONAL = "umbel.utils.functional:"
_NEW_ID = "umbel.app.sending.ids:new_id"

NAMES: dict[str, str] = {
    **each(
        "celery",
        SERIES=f"{_RELEASE}SERIES",
        VERSION=f"{_RELEASE}VERSION",
        VERSION_BANNER=f"{_RELEASE}VERSION_BANNER",
        __version__=f"{_RELEASE}__version__",
        maybe_patch_concurrency="umbel.compat.moved:maybe_patch_concurrency",
        uuid=_NEW_ID,
        version_info=f"{_RELEASE}VERSION",
        version_info_t=f"{_RELEASE}version_info_t",
    ),
    **each(
        "celery._state",
        connect_on_app_finalize=f"{_APPS}connect_on_app_finalize",
        default_app=f"{_APPS}default_app",
        get_current_worker_task=f"{_APPS}get_current_worker_task",
        pop_current_task=f"{_APPS}pop_current_task",
        push_current_task=f"{_APPS}push_current_task",
        _task_stack="umbel.compat.moved:task_stack",
        _set_current_app=f"{_CURRENT}set_current_app",
        app_or_default=f"{_CURRENT}app_or_default",
        current_app=f"{_CURRENT}current_app",
        current_task=f"{_CURRENT}current_task",
        get_current_app=f"{_CURRENT}get_current_app",
        get_current_task="umbel.execution.context:current_task",
        set_default_app=f"{_CURRENT}set_default_app",
    ),
    **each(
        "celery.app",
        AppPickler=f"{_APPS}AppPickler",
        default_app=f"{_APPS}default_app",
        pop_current_task=f"{_APPS}pop_current_task",
        push_current_task=f"{_APPS}push_current_task",
        Celery="umbel.app.base:Celery",
        app_or_default=f"{_CURRENT}app_or_default",
        bugreport=f"{_CURRENT}bugreport",
        shared_task=f"{_CURRENT}shared_task",
    ),
    **each("celery.app.base", PendingConfiguration="umbel.app.configuring.settings:Settings"),
    **each("celery.app.autoretry", add_autoretry_behaviour=f"{_APPS}add_autoretry_behaviour"),
    "celery.app.builtins.add_builtin_tasks": "umbel.app.builtins:add_builtin_tasks",
    **each(
        "celery.app.trace",
        build_tracer="umbel.execution.tracing:build_tracer",
        task_has_custom="umbel.compat.moved:task_has_custom",
        trace_task="umbel.compat.moved:trace_task",
        trace_ok_t="umbel.execution.tracing:Traced",
    ),
    **each(
        "celery.app.utils",
        AppPickler=f"{_APPS}AppPickler",
        appstr=f"{_APPS}appstr",
        filter_hidden_settings=f"{_APPS}filter_hidden_settings",
        Settings="umbel.app.configuring.settings:Settings",
        bugreport=f"{_CURRENT}bugreport",
        find_app="umbel.app.configuring.finding:find_app",
        sanitize_url="umbel.app.connecting.urls:safe_url",
    ),
    **each("celery.apps.beat", Beat="umbel.cli.beat:Beat"),
    **each("celery.apps.worker", Worker="umbel.worker.worker:Worker"),
    **each(
        "celery.backends.base",
        BaseBackend="umbel.app.backends:Backend",
        BaseDictBackend="umbel.app.backends:Backend",
        BaseKeyValueStoreBackend="umbel.app.backends:KeyValueStoreBackend",
        get_current_task="umbel.execution.context:current_task",
    ),
    "celery.contrib.testing.worker._start_worker_thread": (
        "umbel.contrib.testing.worker:start_worker_thread"
    ),
    **each("celery.beat", beat_nodename="umbel.beat.answering:beat_nodename"),
    **each("celery.execute", send_task="umbel.compat.moved:send_task"),
    **each(
        "celery.exceptions",
        CeleryCommandException="umbel.compat.moved:CeleryCommandException",
        reraise="umbel.compat.moved:reraise",
    ),
    **each("celery.canvas", _chain="umbel.canvas.chains:chain", _chord="umbel.canvas.chords:chord"),
    "celery.loaders.get_loader_cls": "umbel.app.configuring.loaders:get_loader_cls",
    **each("celery.loaders.app", AppLoader=_LOADER),
    **each("celery.loaders.base", BaseLoader=_LOADER),
    **each(
        "celery.loaders.default",
        DEFAULT_CONFIG_MODULE="umbel.app.configuring.loaders:DEFAULT_CONFIG_MODULE",
        Loader=_LOADER,
    ),
    **each("celery.local", try_import="umbel.compat.moved:try_import"),
    **each("celery.registry", tasks="umbel.compat.moved:tasks"),
    **each("celery.security", setup_security="umbel.app.security:setup_security"),
    **each(
        "celery.security.utils", get_digest_algorithm="umbel.security.digests:get_digest_algorithm"
    ),
    "celery.worker.consumer.consumer.dump_body": "umbel.compat.moved:dump_body",
    **{
        f"celery.concurrency.prefork.{name}": f"umbel.compat.concurrency:{name}"
        for name in ("process_destructor", "process_initializer")
    },
    **each("celery.worker.heartbeat", Heart="umbel.worker.fleet.heart:Heart"),
    **each(
        "celery.worker.state",
        should_stop="umbel.compat.worker.state:should_stop",
        should_terminate="umbel.compat.worker.state:should_terminate",
    ),
    **each(
        "celery.concurrency.base",
        BasePool="umbel.worker.pools.base:BasePool",
        apply_target="umbel.compat.concurrency:apply_target",
    ),
    **{
        f"celery.concurrency.{name}.TaskPool": f"umbel.pools.{pool}"
        for name, pool in (
            ("eventlet", "green:GreenPool"),
            ("gevent", "green:GreenPool"),
            ("prefork", "prefork:PreforkPool"),
            ("solo", "inline:InlinePool"),
            ("thread", "threads:ThreadPool"),
        )
    },
    "celery.worker.components.Consumer": "umbel.compat.worker.components:WorkerConsumer",
    **{
        f"celery.worker.consumer.{module}Consumer": "umbel.worker.steps.parents:Consumer"
        for module in ("", "consumer.")
    },
    "celery.worker.autoscale.WorkerComponent": "umbel.compat.worker.components:WorkerComponent",
    **each("celery.worker.worker", WorkController="umbel.worker:WorkController"),
    **each(
        "celery.utils",
        LOG_LEVELS="umbel.utils.log:LOG_LEVELS",
        cached_property="umbel.utils.objects:cached_property",
        chunks=f"{_FUNCTIONAL}chunks",
        gen_task_name="umbel.utils.imports:gen_task_name",
        gen_unique_id=_NEW_ID,
        get_cls_by_name="umbel.utils.imports:symbol_by_name",
        get_full_cls_name="umbel.utils.imports:qualname",
        import_from_cwd="umbel.utils.imports:import_from_cwd",
        instantiate="umbel.utils.imports:instantiate",
        memoize=f"{_FUNCTIONAL}memoize",
        nodename="umbel.utils.nodenames:nodename",
        nodesplit="umbel.utils.nodenames:nodesplit",
        noop=f"{_FUNCTIONAL}noop",
        uuid=_NEW_ID,
        worker_direct="umbel.utils.nodenames:worker_direct",
    ),
    **each("celery.utils.dispatch", Signal="umbel.signals:Signal"),
    **each("celery.utils.dispatch.signal", Signal="umbel.signals:Signal"),
    **each(
        "celery.utils.nodenames",
        NODENAME_DEFAULT="umbel.utils.nodenames:NODENAME_DEFAULT",
        NODENAME_SEP="umbel.utils.nodenames:NODENAME_SEP",
    ),
    "celery.utils.threads._LocalStack": "umbel.compat.utils.threads:LocalStack",
    **each("celery.utils.iso8601", parse_iso8601="umbel.utils.time:maybe_iso8601"),
    **each("celery.bin.call", call="umbel.cli.calling:call"),
    **each(
        "celery.bin.celery",
        celery="umbel.cli.main:umbel",
        main="umbel.cli.main:main",
        report="umbel.cli.showing:report",
    ),
    **each(
        "celery.bin.list",
        bindings="umbel.cli.queues:bindings",
        list_="umbel.cli.queues:list_group",
    ),
    **each(
        "celery.bin.graph",
        bootsteps="umbel.cli.graph:bootsteps",
        workers="umbel.cli.graph:workers",
    ),
    **each("celery.bin.upgrade", settings="umbel.cli.upgrade:settings"),
    **each("celery.bin.purge", purge="umbel.cli.queues:purge"),
    **each("celery.bin.result", result="umbel.cli.calling:result"),
    **beside.NAMES,
}
"""Path there → ``module:attribute`` here."""


REPLACEABLE = frozenset(
    {
        "celery.app.trace.build_tracer",
        "celery.worker.state.should_stop",
        "celery.worker.state.should_terminate",
    }
)
"""Names that others put something of theirs in the place of: then it is in umbel's, too."""


def submodules(module: str) -> Iterator[str]:
    """The last parts of the paths directly below a module."""
    return (path.removeprefix(f"{module}.") for path in HOMES if path.rpartition(".")[0] == module)


def is_package(module: str) -> bool:
    """Whether there are modules below it."""
    return next(submodules(module), None) is not None
