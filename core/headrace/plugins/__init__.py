"""Plugins: stevedore answers which one, pluggy calls it.

    names("executor")                              what is installed, without importing any of it
    installed()                                    the same of all kinds, with distribution and module
    make("executor", PluginRef("thread", {...}))   find, import, check, hold the settings against its class, make
    plugin_class("executor", "thread", "PipelineThreadExecutor")
    plan_made(plan); observe(run, dispatcher)      tell those that are always on

State of the process, and nobody's lock: each is computed by whoever comes first and published in one step; of two
threads that come at once, one computes in vain.

    finding._taken      the entry points of our groups, read once; read again only when a name is missing from it
    loading._loaded     (kind, name) -> plugin, imported and checked
    watching._watching  what is listed in `headrace.hooks`

No lock is held while a plugin is imported: its module might wait for another thread that imports it and waits for us.
Each plugin has a pluggy manager of its own, filled once and then only read, with the watchers beside it. So its factory
alone is called while they may wrap it, one module may stand behind two names (pluggy refuses that within a manager), a
plugin that does not fit is in nobody's way, and nothing is registered while another thread calls.
"""

from headrace.plugins.finding import find, installed, names
from headrace.plugins.installed import Installed
from headrace.plugins.kinds import GROUPS, Kind
from headrace.plugins.loading import load
from headrace.plugins.making import make, plugin_class, profile, settings, settings_class
from headrace.plugins.watching import observe, plan_made

__all__ = [
    "GROUPS",
    "Installed",
    "Kind",
    "find",
    "installed",
    "load",
    "make",
    "names",
    "observe",
    "plan_made",
    "plugin_class",
    "profile",
    "settings",
    "settings_class",
]
