"""Profiles: one word that chooses the plugins of a pipeline, their settings and the aims of its flow."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import instance_of

from headrace import plugins
from headrace.errors import PluginError, shorten
from headrace.plan import PluginRef
from headrace.settings import did_you_mean, or_none, seconds, text, whole_number

_plugin = instance_of(PluginRef)


@frozen(kw_only=True)
class Profile:
    """A named choice of plugins, with what the flow of each stage aims at.

    coroutines  the executor of coroutine functions; executor: that of all others
    window     most items between a stage's input and its output taken
    max_bytes  the same in measured bytes, or None
    aim_s      seconds of work that a batch aims at
    linger_s   longest that an item waits for a later one; None: as long as it takes, with no thread to see to it
    """

    name: str
    runner: PluginRef = field(validator=_plugin)
    executor: PluginRef = field(validator=_plugin)
    coroutines: PluginRef = field(default=PluginRef("coroutine"), validator=_plugin)
    monitor: PluginRef = field(default=PluginRef("null"), validator=_plugin)
    dispatcher: PluginRef = field(default=PluginRef("buffered"), validator=_plugin)
    window: int = field(default=10_000, validator=whole_number(at_least=1, of="items"))
    max_bytes: int | None = field(default=None, validator=or_none(whole_number(at_least=1, of="bytes")))
    aim_s: float = field(default=0.005, validator=seconds(above=0))
    linger_s: float | None = field(default=0.005, validator=or_none(seconds(above=0)))


SHIPPED = {
    "serial": Profile(
        name="serial",
        runner=PluginRef("serial"),
        executor=PluginRef("serial"),
        coroutines=PluginRef("serial"),
        dispatcher=PluginRef("inline"),
        linger_s=None,
    ),
    "balanced": Profile(name="balanced", runner=PluginRef("threads"), executor=PluginRef("thread")),
}


def profile(chosen: str | Profile) -> Profile:
    """The profile of that name, shipped or from a package.

    Raises PluginError for a name that none has, or two have, and for a plugin that gives no profile.
    """
    if isinstance(chosen, Profile):
        return chosen
    text(of="a profile's name, or a Profile").check("profile", chosen)
    if ships(chosen):
        return SHIPPED[chosen]
    others = plugins.names("profile")
    if chosen in others:
        found = plugins.profile(chosen)
        if isinstance(found, Profile):
            return found
        who = plugins.Installed.of("profile", plugins.find("profile", chosen))
        raise PluginError(f"{who} gave {shorten(found)}, which is no headrace.Profile")
    known = sorted({*SHIPPED, *others})
    raise PluginError(f"no profile {shorten(chosen)}.{did_you_mean(chosen, known)} Installed: {', '.join(known)}")


def ships(name: str) -> bool:
    """Whether Headrace itself brings the profile of that name. Raises PluginError if a package brings it too."""
    if name in SHIPPED and name in plugins.names("profile"):
        packages = (each for each in plugins.installed() if (each.kind, each.name) == ("profile", name))
        others = ", and ".join(each.place for each in packages)
        raise PluginError(f"the profile '{name}' ships with Headrace, and {others} brings another. Uninstall that one")
    return name in SHIPPED
