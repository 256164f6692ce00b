"""Whether a module fits as a plugin of its kind."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from headrace.contracts import HEADRACE_API
from headrace.errors import shorten
from headrace.plugins.kinds import ALONE, ANSWERS, GROUPS, HOOKS, TOLD, Kind
from headrace.plugins.manager import Manager
from headrace.settings import did_you_mean


def misfits(kind: Kind, module: ModuleType) -> Iterator[str]:
    """What is wrong with a module as a plugin of its kind, the gravest first.

    pluggy looks at marked functions only, and of their arguments only at those without a default.
    """
    api = getattr(module, "HEADRACE_API", None)
    if api is None:
        yield f"does not say which HEADRACE_API it was made for; this Headrace has {HEADRACE_API}"
    elif api != HEADRACE_API:
        yield f"was made for HEADRACE_API {shorten(api)}; this Headrace has {HEADRACE_API}: upgrade whichever is older"
    answers = False
    reader = Manager("headrace")
    for attribute in dir(module):
        options = reader.parse_hookimpl_opts(module, attribute)
        if options is not None:
            name = options["specname"] or attribute
            wrapper = options["wrapper"] or options["hookwrapper"]
            answers |= name == ANSWERS.get(kind) and not wrapper
            yield from _misfit(kind, name, getattr(module, attribute), wrapper, optional=options["optionalhook"])
        elif attribute in HOOKS:
            yield f"has {attribute}, which is not a function marked with @hookimpl"
    if kind in ANSWERS and not answers:
        yield f"does not implement {ANSWERS[kind]}"


def _misfit(kind: Kind, name: str, function: Any, wrapper: bool, *, optional: bool) -> Iterator[str]:
    if name not in HOOKS:
        if not optional:
            yield f"implements a hook that does not exist, {name}.{did_you_mean(name, HOOKS)}"
        return
    if kind == "hooks" and name in ALONE:
        yield f"implements {name}, which is asked only of the plugin that was chosen"
    elif kind == "hooks" and name not in TOLD and not wrapper:
        yield f"implements {name}, which a plugin that is always on can only wrap: @hookimpl(wrapper=True)"
    if kind != "hooks" and name in TOLD:
        yield f"implements {name}, which is called only in modules that are listed in '{GROUPS['hooks']}'"
    given = HOOKS[name]
    takes = inspect.signature(function).parameters.values()
    if any(one.name not in given or one.kind is one.KEYWORD_ONLY for one in takes):
        bare = inspect.Signature([one.replace(default=one.empty, annotation=one.empty) for one in takes])
        yield f"implements {name}{bare}, but that hook gives ({', '.join(given)}), by position"
