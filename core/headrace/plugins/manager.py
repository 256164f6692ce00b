"""The pluggy manager of one plugin."""

from __future__ import annotations

from types import FunctionType, MethodType, ModuleType
from typing import Any

from pluggy import PluginManager

from headrace import hookspecs
from headrace.plugins.kinds import HOOKS


class Manager(PluginManager):
    """Looks only where a hook can be.

    Most of what a module has is no function of Python. pluggy looks at each thing as carefully as at an attribute of an
    instance, which costs more than all the rest of a look-up.
    """

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        likely = type(vars(plugin).get(name)) in (FunctionType, MethodType)
        return super().parse_hookimpl_opts(plugin, name) if likely else None

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        return super().parse_hookspec_opts(module_or_class, name) if name in HOOKS else None


def manager(*modules: ModuleType) -> PluginManager:
    """A manager with these modules, in that order; what was registered last wraps the others."""
    filled = Manager("headrace")
    filled.add_hookspecs(hookspecs)
    for module in modules:
        filled.register(module)
    filled.check_pending()
    return filled
