"""The hooks: what a plugin module may implement, and what calls it.

A plugin is a **module** that an entry point names. It says for which version of these contracts it was made, and
implements the hooks of its kind:

    from attrs import field, frozen
    from headrace.hookspecs import hookimpl
    from headrace.settings import whole_number

    HEADRACE_API = 1

    @frozen
    class CoolSettings:
        max_workers: int = field(default=4, validator=whole_number(at_least=1, of="threads"))

    @hookimpl
    def headrace_settings(name):
        return CoolSettings

    @hookimpl
    def headrace_make_executor(name, settings):
        return CoolExecutor(settings.max_workers)

An implementation takes any of the arguments of its hook, by their names. `name` is the name of the entry point that was
asked for, so that one module can stand behind several names.

By the group of their entry point, modules implement

- `headrace.executors`, `.runners`, `.monitors`, `.dispatchers`: `headrace_make_...` and, if there is anything to set,
  `headrace_settings`. Only the plugin that was chosen is imported and asked.
- `headrace.profiles`: `headrace_profile`, likewise.
- `headrace.hooks`: `headrace_plan_made` and `headrace_observe`, and as `hookimpl(wrapper=True)` whichever
  `headrace_make_...` they wrap. These are always on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from headrace.contracts import Dispatcher, Executor, Monitor, Run, Runner
    from headrace.plan import Plan

hookspec = pluggy.HookspecMarker("headrace")
hookimpl = pluggy.HookimplMarker("headrace")


@hookspec(firstresult=True)
def headrace_settings(name: str) -> type | None:
    """The attrs class of the plugin's settings. Without it, or with None, the plugin takes none.

    The settings that a user gives are held against its fields, an instance is made of them, and that is what the
    factory gets. Its validators speak in words if they come from `headrace.settings`.
    """


@hookspec(firstresult=True)
def headrace_make_executor(name: str, settings: Any, context: Any) -> Executor | None:
    """A new executor. `settings` is an instance of the plugin's settings class, None if it has none.

    `context` is what the caller has to give besides: None, or an object whose attributes depend on who asks.
    """


@hookspec(firstresult=True)
def headrace_make_runner(name: str, settings: Any, context: Any) -> Runner | None:
    """A new runner; the arguments as for `headrace_make_executor`."""


@hookspec(firstresult=True)
def headrace_make_monitor(name: str, settings: Any, context: Any) -> Monitor | None:
    """A new monitor; the arguments as for `headrace_make_executor`."""


@hookspec(firstresult=True)
def headrace_make_dispatcher(name: str, settings: Any, context: Any) -> Dispatcher | None:
    """A new dispatcher; the arguments as for `headrace_make_executor`."""


@hookspec(firstresult=True)
def headrace_profile(name: str) -> Any:
    """The `Profile` of that name."""


@hookspec
def headrace_plan_made(plan: Plan) -> None:
    """A plan is ready and about to run. All are called; one that raises is warned of and passed over."""


@hookspec
def headrace_observe(run: Run, dispatcher: Dispatcher) -> None:
    """A run is about to begin: subscribe to what you want to hear. Called and guarded as `headrace_plan_made`."""
