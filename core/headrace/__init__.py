"""Headrace: parallel data pipelines for Python, in bounded memory, with nothing lost in silence."""

__version__ = "0.1.0"

# Where each public name lives. Nothing is imported before it is asked for (PEP 562).
_HOME = {
    "AccountError": "errors",
    "AsyncStream": "drive.awaited",
    "BackpressureEnded": "events",
    "BackpressureStarted": "events",
    "BatchCompleted": "events",
    "BatchSizeChanged": "events",
    "DeadLetter": "report",
    "Event": "events",
    "EventAccount": "events",
    "EventQueueFull": "events",
    "ExecutorFailed": "errors",
    "GraphError": "errors",
    "HEADRACE_API": "contracts",
    "HeadraceError": "errors",
    "ItemFailed": "events",
    "ItemLate": "errors",
    "ItemRetried": "events",
    "ItemUnpicklable": "errors",
    "LeftoversWarning": "errors",
    "LogEvents": "events",
    "OperatorFailed": "errors",
    "OperatorFinished": "events",
    "OperatorStarted": "events",
    "OperatorStats": "report",
    "Pipeline": "pipeline",
    "PipelineFailed": "errors",
    "PipelineFinished": "events",
    "PipelineStarted": "events",
    "PipelineTimeout": "errors",
    "PluginError": "errors",
    "PluginRef": "plan",
    "Profile": "profiles",
    "ProgressMade": "events",
    "Recycle": "operators",
    "Result": "report",
    "Retry": "operators",
    "RunReport": "report",
    "SettingsError": "errors",
    "Setup": "batch",
    "Stream": "drive",
    "WindowTooSmall": "errors",
    "WorkerLost": "errors",
    "WorkerStarted": "events",
    "WriteEvents": "events",
    "current": "context",
    "map": "pipeline",
}
# The public classes of plugins, reached through their entry points like anybody's.
_PLUGINS = {
    "AsyncEventDispatcher": ("dispatcher", "async"),
    "AsyncPipelineExecutor": ("runner", "async"),
    "BufferedEventNotifier": ("dispatcher", "buffered"),
    "CoroutineExecutor": ("executor", "coroutine"),
    "PipelineProcessExecutor": ("executor", "process"),
    "PipelineThreadExecutor": ("executor", "thread"),
    "SerialExecutor": ("executor", "serial"),
    "ThreadBasedPipelineExecutor": ("runner", "threads"),
}

__all__ = sorted([*_HOME, *_PLUGINS])


def __getattr__(name):  # type: ignore[no-untyped-def]
    from importlib import import_module

    if name in _HOME:
        found = getattr(import_module(f"headrace.{_HOME[name]}"), name)
    elif name in _PLUGINS:
        kind, plugin = _PLUGINS[name]
        found = import_module("headrace.plugins").plugin_class(kind, plugin, name)
    else:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__():  # type: ignore[no-untyped-def]
    return [*globals(), *__all__]
