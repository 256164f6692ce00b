"""Plugins as strangers install them: real distributions in a directory, asked for by a fresh interpreter.

What a user sees when one is wrong is compared word for word, and all the others go on working.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from distributions import AMONG_THEM, EXECUTOR, GOOD, HOOKS, WRONG, Site, named, zoo_in
from headrace import plugins
from headrace.errors import PluginError
from headrace.plan import PluginRef
from headrace.plugins.finding import snapshot
from headrace.profiles import SHIPPED


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


# All the wrong ones, side by side -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return zoo_in(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def seen(zoo: Site) -> dict[str, str]:
    """What a user sees of each plugin in the zoo, all in one process: the wrong ones first, and then the others."""
    names = [*WRONG, *AMONG_THEM]
    ours = ("serial", "thread")
    answer: dict[str, str] = zoo.run(
        f"""
        answer = {{name: said(make, "executor", name) for name in {names + list(ours)}}}
        answer["monitor"] = said(make, "monitor", "null")
        answer["good again"] = said(make, "executor", "good")
        """
    )
    return answer


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_plugin_is_named_with_its_module_its_distribution_and_the_reason(
    seen: dict[str, str], name: str
) -> None:
    who = f"executor plugin '{name}' (module '{name}' of {name.replace('_', '-')}-dist 1.0)"
    assert seen[name] == "PluginError: " + WRONG[name][1].format(who=who)


@pytest.mark.parametrize(
    ("name", "module", "distribution"),
    [("names_class", "good:Executor", "names-class-dist 1.0"), ("no_module", "not a module!", "no-module-dist 1.0")],
)
def test_an_entry_point_that_names_no_module(seen: dict[str, str], name: str, module: str, distribution: str) -> None:
    assert seen[name] == (
        f"PluginError: executor plugin '{name}' (module '{module}' of {distribution}) cannot be imported: "
        "an entry point of Headrace names a module, and nothing in it"
    )


def test_a_distribution_without_metadata(seen: dict[str, str]) -> None:
    assert seen["nameless"] == (
        "PluginError: executor plugin 'nameless' (module 'no_such_module' of an unknown distribution) "
        "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"
    )


def test_one_name_from_two_distributions_has_no_silent_winner(seen: dict[str, str]) -> None:
    assert seen["twin"] == (
        "PluginError: 2 executor plugins are called 'twin': module 'first' of first-dist 1.2, and "
        "module 'second' of second-dist 0.9rc1. Uninstall all but one of them"
    )


def test_what_the_plugin_s_own_constructor_raises_comes_through_as_it_is(seen: dict[str, str]) -> None:
    assert seen["raises"] == "RuntimeError: no driver found, says the constructor"


def test_an_instance_that_is_false_is_an_instance(seen: dict[str, str]) -> None:
    assert seen["falsy"] == "<falsy of falsy, None>"


def test_among_all_these_the_others_work(seen: dict[str, str]) -> None:
    assert seen["good"] == seen["good again"] == "<good of good, None>"
    assert seen["also_good"] == "<also_good of good, None>"
    for ours in ("serial", "thread", "monitor"):
        assert "Error" not in seen[ours]


def test_names_are_listed_without_importing_anything(zoo: Site) -> None:
    answer = zoo.run(
        "answer = [plugins.names('executor'), [m for m in ('exits', 'good', 'first') if m in sys.modules]]"
    )
    assert answer == [named("executor", *WRONG, *AMONG_THEM).split(", "), []]


def test_only_the_one_that_is_chosen_is_imported(zoo: Site) -> None:
    answer = zoo.run(
        """
        make("executor", "good")
        known = plugins.names("executor") + ["headrace_monitors", "headrace_executors", "headrace_events"]
        answer = [name for name in known if name in sys.modules]
        """
    )
    assert answer == ["good"]


# A name that is not there -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("executor", "thread1", "no executor plugin 'thread1'. Did you mean 'thread'? Installed: {}"),
        ("executor", "Thread", "no executor plugin 'Thread'. Did you mean 'thread'? Installed: {}"),
        ("executor", "zzz", "no executor plugin 'zzz'. Installed: {}"),
        ("runner", "serail", "no runner plugin 'serail'. Did you mean 'serial'? Installed: {}"),
        ("dispatcher", "", "no dispatcher plugin ''. Installed: {}"),
    ],
)
def test_an_unknown_name(kind: plugins.Kind, name: str, said: str) -> None:
    with pytest.raises(PluginError) as refused:
        plugins.make(kind, PluginRef(name))
    assert str(refused.value) == said.format(named(kind))


def test_a_kind_of_which_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins.GROUPS, "profile", "headrace.of_which_there_is_none")
    snapshot(anew=True)
    try:
        with pytest.raises(PluginError) as refused:
            plugins.profile("fast")
    finally:
        monkeypatch.undo()
        snapshot(anew=True)
    assert str(refused.value) == "no profile plugin 'fast'. None is installed"


def test_where_headrace_can_be_imported_but_is_not_installed(site: Site) -> None:
    for module in ("headrace.settings", "attr", "attrs", "pluggy", "stevedore"):
        folder = Path(sys.modules[module].__file__ or "").parent
        (site.folder / folder.name).symlink_to(folder)
    answer = site.run("answer = said(make, 'executor', 'thread')", "-S")
    assert answer == (
        "PluginError: no executor plugin 'thread'. None is installed. Headrace's own plugins are missing, for it can "
        "be imported but is not installed: run 'pip install headrace', or 'pip install -e .' in its source tree"
    )


def test_what_is_installed_while_the_program_runs_is_found(site: Site) -> None:
    later = Site(site.folder.parent / "later")
    later.install("late-dist", {"late": GOOD}, "[headrace.executors]\nlate = late\n")
    answer = site.run(
        f"""
        answer = [said(make, "executor", "late").partition(".")[0]]
        sys.path.append({str(later.folder)!r})
        answer.append(said(make, "executor", "late"))
        """
    )
    assert answer == ["PluginError: no executor plugin 'late'", "<late of late, None>"]


# The list of entry points -------------------------------------------------------------------------------------------


def test_twins_are_found_when_another_stands_between_them(site: Site) -> None:
    folders = []
    for number, name in enumerate(["twin", "between", "twin"]):
        part = Site(site.folder / str(number))
        part.install(f"dist-{number}", {f"module_{number}": GOOD}, f"[headrace.executors]\n{name} = module_{number}\n")
        folders.append(part.folder)
    answer = site.run("answer = said(make, 'executor', 'twin')", path=tuple(folders))
    assert answer == (
        "PluginError: 2 executor plugins are called 'twin': module 'module_0' of dist-0 1.0, and "
        "module 'module_2' of dist-2 1.0. Uninstall all but one of them"
    )


def test_what_one_distribution_says_twice_counts_once_unless_it_differs(site: Site) -> None:
    site.install(
        "twice-dist",
        {"same": GOOD, "other": GOOD},
        "[headrace.executors]\nsame = same\nsame = same\nboth = same\nboth = other\n",
    )
    answer = site.run("answer = [said(make, 'executor', name) for name in ('same', 'both')]")
    assert answer == [
        "<same of same, None>",
        "PluginError: 2 executor plugins are called 'both': module 'other' of twice-dist 1.0, and "
        "module 'same' of twice-dist 1.0. Uninstall all but one of them",
    ]


def test_an_older_copy_further_down_the_path_is_hidden_as_in_an_import(site: Site) -> None:
    older = Site(site.folder.parent / "older")
    older.install("good-dist", {"old": GOOD}, "[headrace.executors]\ngood = old\n", version="0.1")
    site.install("good-dist", {"good": GOOD}, "[headrace.executors]\ngood = good\n")
    assert site.run("answer = said(make, 'executor', 'good')", path=(older.folder,)) == "<good of good, None>"


def test_a_stranger_s_unreadable_list_is_in_nobody_s_way(site: Site) -> None:
    site.install("broken-dist", {}, "[console_scripts]\na line that says nothing\n")
    site.install("good-dist", {"good": GOOD}, "[headrace.executors]\ngood = good\n")
    older = Site(site.folder.parent / "older")
    older.install("good-dist", {"old": GOOD}, "[headrace.executors]\ngood = old\n", version="0.1")
    answer = site.run(
        """
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            answer = [said(make, "executor", "good"), "Error" in said(make, "executor", "serial")]
        answer += [str(each.message) for each in warned]
        """,
        path=(older.folder,),
    )
    assert answer[:2] == ["<good of good, None>", False]
    info = site.folder / "broken_dist-1.0.dist-info"
    assert [warned.partition(" cannot be read: TypeError")[0] for warned in answer[2:]] == [
        f"the entry points of {info}"
    ]


def test_the_list_is_read_once_and_not_through_a_cache_on_disk(site: Site, tmp_path: Path) -> None:
    site.install("good-dist", {"good": GOOD}, "[headrace.executors]\ngood = good\n")
    answer = site.run(
        """
        import importlib.metadata
        read, answer = importlib.metadata.entry_points, []
        importlib.metadata.entry_points = lambda **only: answer.append(only) or read(**only)
        plugins.names("monitor"), plugins.names("executor")
        make("executor", "good"), make("executor", "good"), make("monitor", "null"), make("dispatcher", "inline")
        """,
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    assert answer == [{}]
    assert not (tmp_path / "cache").exists()


# Settings -----------------------------------------------------------------------------------------------------------

SETTINGS = """
    from attrs import field, frozen, validators
    from headrace.settings import whole_number
    @frozen
    class GoodSettings:
        max_workers: int = field(default=4, validator=whole_number(at_least=1, of="threads"))
        address: str = field(kw_only=True, validator=validators.instance_of(str))
        _private: int = field(default=0, kw_only=True)
        derived: int = field(init=False, default=1)
    @hookimpl
    def headrace_settings(name):
        return GoodSettings if name == "set" else None
"""


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("settled"))
    site.install("set-dist", {"set_good": GOOD + SETTINGS}, "[headrace.executors]\nset = set_good\nunset = set_good\n")
    return site


def test_raw_settings_are_held_against_the_plugin_s_class(settled: Site) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("set", {"address": "here", "max_workers": 2, "private": 3}),
        ("set", {"address": "here", "max_wrokers": 2}),
        ("set", {"address": "here", "derived": 2}),
        ("set", {"max_workers": 2}),
        ("set", {"address": "here", "max_workers": "4"}),
        ("set", {"address": 7}),
        ("unset", {}),
        ("unset", {"address": "here"}),
    ]
    answer = settled.run(f"answer = [said(lambda: make('executor', name, **raw)) for name, raw in {asked}]")
    who = "executor plugin 'set'"
    assert answer == [
        "<set of set_good, GoodSettings(max_workers=2, address='here', _private=3, derived=1)>",
        f"SettingsError: {who} has no setting 'max_wrokers'. Did you mean 'max_workers'? "
        "Settings: address, max_workers, private",
        f"SettingsError: {who} has no setting 'derived'. Settings: address, max_workers, private",
        f"SettingsError: {who} needs the setting 'address'",
        "SettingsError: GoodSettings.max_workers must be a whole number of threads, at least 1; got '4'",
        f"SettingsError: a setting of {who} does not fit: 'address' must be <class 'str'> "
        "(got 7 that is a <class 'int'>).",
        "<unset of set_good, None>",
        "SettingsError: executor plugin 'unset' has no setting 'address'. It takes none",
    ]


def test_the_class_of_the_settings_can_be_asked_for(settled: Site) -> None:
    answer = settled.run("answer = [said(plugins.settings_class, 'executor', name) for name in ('set', 'unset')]")
    assert answer == ["<class 'set_good.GoodSettings'>", "None"]


# What else a plugin gives -------------------------------------------------------------------------------------------


def test_its_public_class_and_its_module(settled: Site) -> None:
    answer = settled.run(
        """
        answer = [said(plugins.plugin_class, "executor", "set", name) for name in ("Executor", "Exekutor")]
        answer.append(plugins.load("executor", "set") is sys.modules["set_good"])
        """
    )
    assert answer == [
        "<class 'set_good.Executor'>",
        "PluginError: executor plugin 'set' (module 'set_good' of set-dist 1.0) has no Exekutor",
        True,
    ]


def test_the_context_reaches_the_factory(site: Site) -> None:
    source = f"""{EXECUTOR}
    @hookimpl
    def headrace_make_executor(context):
        return Executor(name=context)
"""
    site.install("asks-dist", {"asks": source}, "[headrace.executors]\nasks = asks\n")
    answer = site.run("answer = repr(plugins.make('executor', PluginRef('asks'), context='context'))")
    assert answer == "<context of asks, None>"


def test_a_profile_comes_from_a_package(site: Site) -> None:
    source = """
    from headrace.hookspecs import hookimpl
    HEADRACE_API = 1
    @hookimpl
    def headrace_profile(name):
        return {"fast": "a profile"}.get(name)
"""
    site.install("profiles-dist", {"fast": source}, "[headrace.profiles]\nfast = fast\nslow = fast\n")
    answer = site.run(
        "answer = [plugins.names('profile'), *(said(plugins.profile, name) for name in ('fast', 'slow'))]"
    )
    assert answer == [
        named("profile", "fast", "slow").split(", "),
        "'a profile'",
        "PluginError: profile plugin 'slow' (module 'fast' of profiles-dist 1.0) made nothing: "
        "its headrace_profile gave None",
    ]


PROFILES = """
    from headrace.hookspecs import hookimpl
    from headrace.plan import PluginRef
    from headrace.profiles import Profile
    HEADRACE_API = 1
    @hookimpl
    def headrace_profile(name):
        if name == "seven":
            return 7
        return Profile(name=name, runner=PluginRef("serial"), executor=PluginRef("thread", {"max_workers": 2}))
"""


def test_a_pipeline_runs_with_a_profile_from_a_package_among_wrong_ones(site: Site) -> None:
    site.install("profiles-dist", {"good": PROFILES}, "[headrace.profiles]\nfast = good\nseven = good\n")
    site.install("lacks-dist", {"lacks": "import no_such_module"}, "[headrace.profiles]\nlacks = lacks\n")
    site.install("serial-dist", {"shadow": PROFILES}, "[headrace.profiles]\nserial = shadow\n", version="3.1")
    for name in ("one", "two"):
        site.install(f"{name}-dist", {name: PROFILES}, f"[headrace.profiles]\ntwin = {name}\n")
    answer = site.run(
        """
        from headrace import Pipeline
        def squares(profile):
            return Pipeline("p", profile=profile).source("n", range(4)).map("square", lambda n: n * n).execute().outputs
        answer = [said(squares, name) for name in ("lacks", "seven", "serial", "twin", "fasd", "fast", "balanced")]
        """
    )
    assert answer == [
        "PluginError: profile plugin 'lacks' (module 'lacks' of lacks-dist 1.0) cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_module'",
        "PluginError: profile plugin 'seven' (module 'good' of profiles-dist 1.0) gave 7, which is no headrace.Profile",
        "PluginError: the profile 'serial' ships with Headrace, and module 'shadow' of serial-dist 3.1 brings another. "
        "Uninstall that one",
        "PluginError: 2 profile plugins are called 'twin': module 'one' of one-dist 1.0, and "
        "module 'two' of two-dist 1.0. Uninstall all but one of them",
        "PluginError: no profile 'fasd'. Did you mean 'fast'? Installed: "
        f"{', '.join(sorted({*SHIPPED, 'fast', 'lacks', 'seven', 'twin'}))}",
        "[0, 1, 4, 9]",
        "[0, 1, 4, 9]",
    ]


def test_a_hook_that_is_optional_need_not_exist(site: Site) -> None:
    source = f"""{GOOD}
    @hookimpl(optionalhook=True)
    def headrace_of_the_future(name):
        return None
"""
    site.install("ahead-dist", {"ahead": source}, "[headrace.executors]\nahead = ahead\n")
    assert site.run("answer = said(make, 'executor', 'ahead')") == "<ahead of ahead, None>"


def test_of_two_threads_that_come_at_once_each_gets_the_plugin_and_it_is_imported_once(site: Site) -> None:
    counted = f"""{GOOD}
    import builtins
    builtins.times_imported = getattr(builtins, "times_imported", 0) + 1
"""
    site.install("good-dist", {"good": counted}, "[headrace.executors]\ngood = good\n")
    answer = site.run(
        """
        import builtins, threading
        start, answer = threading.Barrier(4), []
        def work():
            start.wait()
            answer.append(said(make, "executor", "good"))
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        answer.append(builtins.times_imported)
        """
    )
    assert answer == ["<good of good, None>"] * 4 + [1]


def test_what_is_made_does_not_drag_the_manager_along() -> None:
    import pickle

    monitor = plugins.make("monitor", PluginRef("null"))
    assert type(pickle.loads(pickle.dumps(monitor))) is type(monitor)


# What is always on --------------------------------------------------------------------------------------------------


def wrapper(word: str) -> str:
    return f"""{HOOKS}
    @hookimpl(wrapper=True)
    def headrace_make_executor(name):
        made = yield
        made.name += " {word}"
        return made
"""


def test_only_the_factory_of_the_chosen_one_is_called_and_watchers_wrap_it(site: Site) -> None:
    noisy = GOOD.replace("return Executor(name, settings)", "raise AssertionError('nobody chose me')")
    site.install("noisy-dist", {"noisy": noisy}, "[headrace.executors]\nnoisy = noisy\n")
    site.install("good-dist", {"good": GOOD}, "[headrace.executors]\ngood = good\nalso = good\n")
    site.install("wraps-dist", {"wraps": wrapper("wrapped")}, "[headrace.hooks]\nwraps = wraps\n")
    answer = site.run(
        """
        plugins.load("executor", "noisy")
        answer = [said(make, "executor", name) for name in ("good", "also", "noisy", "good")]
        """
    )
    assert answer == [
        "<good wrapped of good, None>",
        "<also wrapped of good, None>",
        "AssertionError: nobody chose me",
        "<good wrapped of good, None>",
    ]


WRONG_WATCHERS: dict[str, tuple[str, str]] = {
    "broken": ("import no_such_module", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
    "exits": ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
    "makes": (
        f"""{HOOKS}
    @hookimpl
    def headrace_make_executor(name):
        return None
""",
        "implements headrace_make_executor, which a plugin that is always on can only wrap: @hookimpl(wrapper=True)",
    ),
    "sets": (
        f"""{HOOKS}
    @hookimpl(wrapper=True)
    def headrace_settings(name):
        return (yield)
""",
        "implements headrace_settings, which is asked only of the plugin that was chosen",
    ),
    "mistakes": (
        f"""{HOOKS}
    @hookimpl
    def headrace_observes(run):
        return None
""",
        "implements a hook that does not exist, headrace_observes. Did you mean 'headrace_observe'?",
    ),
    "newer": (
        HOOKS.replace("HEADRACE_API = 1", "HEADRACE_API = 2"),
        "was made for HEADRACE_API 2; this Headrace has 1: upgrade whichever is older",
    ),
    "takes": (
        f"""{HOOKS}
    @hookimpl
    def headrace_plan_made(plan, run):
        return None
""",
        "implements headrace_plan_made(plan, run), but that hook gives (plan), by position",
    ),
}


def test_what_is_always_on_is_loaded_in_isolation(site: Site) -> None:
    for name, (source, _) in WRONG_WATCHERS.items():
        site.install(f"{name}-dist", {name: source}, f"[headrace.hooks]\n{name} = {name}\n")
    for name in ("zest", "zinc"):
        site.install(f"{name}-dist", {name: HOOKS}, "[headrace.hooks]\nzwin = " + name)
    site.install("wraps-dist", {"wraps": wrapper("wrapped")}, "[headrace.hooks]\nwraps = wraps\n")
    site.install("good-dist", {"good": GOOD}, "[headrace.executors]\ngood = good\n")
    answer = site.run(
        """
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            answer = [make("executor", "good").name, make("executor", "good").name]
        answer += [str(each.message) for each in warned]
        """
    )
    assert answer[:2] == ["good wrapped", "good wrapped"]
    assert answer[2:] == [
        f"hooks plugin '{name}' (module '{name}' of {name}-dist 1.0) {WRONG_WATCHERS[name][1]}. It is left out"
        for name in sorted(WRONG_WATCHERS)
    ] + [
        "2 hooks plugins are called 'zwin': module 'zest' of zest-dist 1.0, and module 'zinc' of zinc-dist 1.0. "
        "Uninstall all but one of them. It is left out"
    ]


def test_all_watchers_are_told_and_one_that_raises_is_passed_over(site: Site) -> None:
    told = f"""{HOOKS}
    @hookimpl
    def headrace_observe(run, dispatcher):
        run.append((__name__, dispatcher))
    @hookimpl
    def headrace_plan_made(plan):
        plan.append(__name__)
"""
    raises = f"""{HOOKS}
    @hookimpl
    def headrace_observe():
        raise ValueError("no")
    @hookimpl
    def headrace_plan_made():
        raise ValueError
"""
    for name, source in {"a": told, "b": raises, "c": told}.items():
        site.install(f"{name}-dist", {f"module_{name}": source}, f"[headrace.hooks]\n{name} = module_{name}\n")
    answer = site.run(
        """
        run, plan = [], []
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            plugins.plan_made(plan)
            plugins.observe(run, "dispatcher")
        answer = [run, plan, *(str(each.message) for each in warned)]
        """
    )
    who = "hooks plugin 'b' (module 'module_b' of b-dist 1.0)"
    assert answer == [
        [["module_a", "dispatcher"], ["module_c", "dispatcher"]],
        ["module_a", "module_c"],
        f"{who} raised in headrace_plan_made: ValueError. It is passed over",
        f"{who} raised in headrace_observe: ValueError: no. It is passed over",
    ]


def test_a_run_gives_the_same_whatever_its_watchers_raise(site: Site) -> None:
    good = f"""{HOOKS}
    from headrace.events import PipelineFinished
    told = []
    @hookimpl
    def headrace_plan_made(plan):
        told.append(plan.name)
    @hookimpl
    def headrace_observe(run, dispatcher):
        dispatcher.subscribe(lambda event: told.append(type(event).__name__), PipelineFinished)
"""
    wrong = {
        "raises": "raise ValueError('no')",
        "exits": "raise SystemExit(3)",
        "asserts": "assert False",
        "skips": "raise type('Skipped', (BaseException,), {})",
    }
    for name, line in wrong.items():
        source = f"""{HOOKS}
    @hookimpl
    def headrace_plan_made():
        {line}
    @hookimpl
    def headrace_observe():
        {line}
"""
        site.install(f"{name}-dist", {f"{name}_hooks": source}, f"[headrace.hooks]\n{name} = {name}_hooks\n")
    for name in ("a_good", "z_good"):  # before all of them, and after
        site.install(f"{name}-dist", {name: good}, f"[headrace.hooks]\n{name} = {name}\n")
    answer = site.run(
        """
        from headrace import Pipeline
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            outputs = Pipeline("p").source("n", range(3)).map("double", lambda n: 2 * n).execute().outputs
        told = [sys.modules[name].told for name in ("a_good", "z_good")]
        answer = [outputs, told, [str(each.message) for each in warned]]
        """
    )
    said = {"asserts": "AssertionError", "exits": "SystemExit: 3", "raises": "ValueError: no", "skips": "Skipped"}
    assert answer == [
        [0, 2, 4],
        [["p", "PipelineFinished"]] * 2,
        [
            f"hooks plugin '{name}' (module '{name}_hooks' of {name}-dist 1.0) raised in {hook}: {why}. "
            "It is passed over"
            for hook in ("headrace_plan_made", "headrace_observe")
            for name, why in said.items()
        ],
    ]
