"""`headrace plugins`, among distributions as strangers install them: what is listed, and what is found wrong.

Those of Headrace itself are told apart by their distribution, so that these tests hold however many there are.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from distributions import AMONG_THEM, GOOD, HOOKS, WRONG, Site, zoo_in
from headrace import plugins, profiles
from headrace.cli import main

PROFILES = f"""{HOOKS}
    from headrace.plan import PluginRef
    from headrace.profiles import Profile
    EXECUTORS = {{
        "fast": PluginRef("good"),
        "absent": PluginRef("no_such_executor"),
        "set": PluginRef("good", {{"wings": 2}}),
        "exits": PluginRef("exits"),
    }}
    @hookimpl
    def headrace_profile(name):
        if name == "none":
            return None
        if name == "seven":
            return 7
        if name == "small":
            return Profile(name=name, runner=PluginRef("serial"), executor=PluginRef("serial"), window=0)
        return Profile(name=name, runner=PluginRef("serial"), executor=EXECUTORS[name])
"""
CHATTY = f"""
    print("I am imported")
    {GOOD}
    @hookimpl
    def headrace_settings(name):
        print("I am asked")
"""
HELD = f"""{GOOD}
    @hookimpl
    def headrace_settings(name):
        raise SystemExit(4)
"""
RAISES_WHEN_TOLD = f"""{HOOKS}
    @hookimpl
    def headrace_observe(run):
        raise ValueError
"""
MISSPELT = f"""{HOOKS}
    @hookimpl
    def headrace_observes(run):
        return None
"""

TWIN = (
    "2 executor plugins are called 'twin': module 'first' of first-dist 1.2, and module 'second' of second-dist "
    "0.9rc1. Uninstall all but one of them"
)
SHADOWS = (
    "the profile 'serial' ships with Headrace, and module 'shadow' of shadow-dist 1.0 brings another. "
    "Uninstall that one"
)
NO_MODULE = "cannot be imported: an entry point of Headrace names a module, and nothing in it"
LACKS = "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"

Line = tuple[str, str, str, str, str]
"""A line of the table: kind, name, distribution, target, status."""


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Plugins of every kind, sound and ill, each a distribution of its own."""
    site = Site(tmp_path_factory.mktemp("ward"))
    for group, name, source in [
        ("executors", "good", GOOD),
        ("executors", "chatty", CHATTY),
        ("executors", "held", HELD),
        ("executors", "exits", WRONG["exits"][0]),
        ("executors", "asserts", WRONG["asserts"][0]),
        ("executors", "newer", WRONG["newer"][0]),
        ("executors", "misnamed", WRONG["misnamed_argument"][0]),
        ("executors", "stranger", WRONG["stranger"][0]),
        ("runners", "run", "import no_such_module"),
        ("monitors", "watch", "import no_such_module"),
        ("dispatchers", "send", "import no_such_module"),
        ("hooks", "misspelt", MISSPELT),
        ("hooks", "raises", RAISES_WHEN_TOLD),
        ("hooks", "lacks", "import no_such_module"),
    ]:
        site.install(f"{name}-dist", {f"{name}_module": source}, f"[headrace.{group}]\n{name} = {name}_module\n")
    site.install("first-dist", {"first": GOOD}, "[headrace.executors]\ntwin = first\n", version="1.2")
    site.install("second-dist", {"second": GOOD}, "[headrace.executors]\ntwin = second\n", version="0.9rc1")
    site.install("class-dist", {}, "[headrace.executors]\nclass = good_module:Executor\n")
    site.install("nameless-dist", {"nameless": GOOD}, "[headrace.executors]\nnameless = nameless\n", metadata=False)
    listed = "".join(f"{name} = profiles\n" for name in ("fast", "absent", "set", "exits", "none", "seven", "small"))
    site.install("profiles-dist", {"profiles": PROFILES}, f"[headrace.profiles]\n{listed}lost = no_such_module\n")
    site.install("shadow-dist", {"shadow": PROFILES}, "[headrace.profiles]\nserial = shadow\n")
    return site


UNCHECKED: list[Line] = [
    ("executor", "asserts", "asserts-dist 1.0", "asserts_module", "not checked"),
    ("executor", "chatty", "chatty-dist 1.0", "chatty_module", "not checked"),
    ("executor", "class", "class-dist 1.0", "good_module:Executor", NO_MODULE),
    ("executor", "exits", "exits-dist 1.0", "exits_module", "not checked"),
    ("executor", "good", "good-dist 1.0", "good_module", "not checked"),
    ("executor", "held", "held-dist 1.0", "held_module", "not checked"),
    ("executor", "misnamed", "misnamed-dist 1.0", "misnamed_module", "not checked"),
    ("executor", "nameless", "unknown", "nameless", "not checked"),
    ("executor", "newer", "newer-dist 1.0", "newer_module", "not checked"),
    ("executor", "stranger", "stranger-dist 1.0", "stranger_module", "not checked"),
    ("executor", "twin", "first-dist 1.2", "first", TWIN),
    ("executor", "twin", "second-dist 0.9rc1", "second", TWIN),
    ("runner", "run", "run-dist 1.0", "run_module", "not checked"),
    ("monitor", "watch", "watch-dist 1.0", "watch_module", "not checked"),
    ("dispatcher", "send", "send-dist 1.0", "send_module", "not checked"),
    ("profile", "absent", "profiles-dist 1.0", "profiles", "not checked"),
    ("profile", "exits", "profiles-dist 1.0", "profiles", "not checked"),
    ("profile", "fast", "profiles-dist 1.0", "profiles", "not checked"),
    ("profile", "lost", "profiles-dist 1.0", "no_such_module", "not checked"),
    ("profile", "none", "profiles-dist 1.0", "profiles", "not checked"),
    ("profile", "serial", "shadow-dist 1.0", "shadow", SHADOWS),
    ("profile", "set", "profiles-dist 1.0", "profiles", "not checked"),
    ("profile", "seven", "profiles-dist 1.0", "profiles", "not checked"),
    ("profile", "small", "profiles-dist 1.0", "profiles", "not checked"),
    ("hooks", "lacks", "lacks-dist 1.0", "lacks_module", "not checked"),
    ("hooks", "misspelt", "misspelt-dist 1.0", "misspelt_module", "not checked"),
    ("hooks", "raises", "raises-dist 1.0", "raises_module", "not checked"),
]
FOUND = {  # by kind and name, what a check finds; of all that are not here: nothing
    ("executor", "asserts"): "cannot be imported: AssertionError",
    ("executor", "class"): NO_MODULE,
    ("executor", "exits"): "cannot be imported: SystemExit: 3",
    ("executor", "held"): "raised while it was asked: SystemExit: 4",
    ("executor", "misnamed"): "implements headrace_make_executor(name, setings), but that hook gives (name, settings, "
    "context), by position",
    ("executor", "newer"): "was made for HEADRACE_API 2; this Headrace has 1: upgrade whichever is older",
    ("executor", "stranger"): "implements a hook that does not exist, headrace_make_exekutor. "
    "Did you mean 'headrace_make_executor'?",
    ("executor", "twin"): TWIN,
    ("runner", "run"): LACKS,
    ("monitor", "watch"): LACKS,
    ("dispatcher", "send"): LACKS,
    ("profile", "absent"): "no executor plugin 'no_such_executor'. Installed: {executors}",
    ("profile", "exits"): "executor plugin 'exits' (module 'exits_module' of exits-dist 1.0) cannot be imported: "
    "SystemExit: 3",
    ("profile", "lost"): LACKS,
    ("profile", "none"): "made nothing: its headrace_profile gave None",
    ("profile", "serial"): SHADOWS,
    ("profile", "set"): "executor plugin 'good' has no setting 'wings'. It takes none",
    ("profile", "seven"): "gave 7, which is no headrace.Profile",
    ("profile", "small"): "Profile.window must be a whole number of items, at least 1; got 0",
    ("hooks", "lacks"): LACKS,
    ("hooks", "misspelt"): "implements a hook that does not exist, headrace_observes. Did you mean 'headrace_observe'?",
}


def table(output: str) -> list[Line]:
    """The lines below the head, up to the first that is empty."""
    head, *lines = output.partition("\n\n")[0].splitlines()
    assert head.split() == ["kind", "name", "distribution", "target", "status"]
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    columns = [slice(*ends) for ends in zip(starts, [*starts[1:], None], strict=True)]
    return [tuple(line[column].rstrip() for column in columns) for line in lines]  # type: ignore[misc]  # it is five


def strangers(lines: list[Line]) -> list[Line]:
    return [line for line in lines if not line[2].startswith("headrace ")]


def ours(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line[2].startswith("headrace ")]


@pytest.fixture(scope="module")
def listed(ward: Site) -> subprocess.CompletedProcess[str]:
    return ward.headrace("plugins")


@pytest.fixture(scope="module")
def checked(ward: Site) -> subprocess.CompletedProcess[str]:
    return ward.headrace("plugins", "--check")


# What the user sees -------------------------------------------------------------------------------------------------


def test_all_are_listed_with_what_is_known_without_an_import(listed: subprocess.CompletedProcess[str]) -> None:
    assert strangers(table(listed.stdout)) == UNCHECKED
    assert listed.stdout.endswith("\n\nNo plugin was imported. 'headrace plugins --check' imports and checks each.\n")
    assert (listed.returncode, listed.stderr) == (1, "")


def test_each_is_checked_and_its_fault_said_in_words(checked: subprocess.CompletedProcess[str]) -> None:
    lines = table(checked.stdout)
    executors = ", ".join(sorted({name for kind, name, *_ in lines if kind == "executor"}))
    expected = [(*line[:4], FOUND.get((line[0], line[1]), "ok").format(executors=executors)) for line in UNCHECKED]
    assert strangers(lines) == expected
    assert checked.returncode == 1


def test_among_all_the_ill_ours_are_sound_and_so_is_every_stranger_that_is(
    checked: subprocess.CompletedProcess[str],
) -> None:
    lines = table(checked.stdout)
    assert [line[:2] for line in ours(lines) if line[4] != "ok"] == [("profile", "serial")]
    assert [name for _, name, *_, status in strangers(lines) if status == "ok"] == [
        "chatty",
        "good",
        "nameless",
        "fast",
        "raises",
    ]


def test_what_plugins_print_while_they_are_checked_goes_to_stderr(
    checked: subprocess.CompletedProcess[str],
) -> None:
    assert checked.stderr == "I am imported\nI am asked\n"


def test_the_executors_that_are_wrong_when_chosen_are_found_wrong_before(tmp_path: Path) -> None:
    """All but those of which only the making shows it: nothing is made here."""
    answer = zoo_in(tmp_path).headrace("plugins", "--check", "--json")
    found = {row["name"]: row["status"] for row in json.loads(answer.stdout) if row["kind"] == "executor"}
    made = {"gives_none", "gives_other"}
    assert {name: found[name] for name in WRONG} == {
        name: "ok" if name in made else said.format(who="").strip() for name, (_, said) in WRONG.items()
    }
    assert [name for name in AMONG_THEM if found[name] == "ok"] == ["raises", "falsy", "good", "also_good"]


# For programs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_json_has_the_same_facts(ward: Site, options: list[str], request: pytest.FixtureRequest) -> None:
    shown = request.getfixturevalue("checked" if options else "listed")
    answer = ward.headrace("plugins", "--json", *options)
    rows = json.loads(answer.stdout)
    keys = ["kind", "name", "distribution", "version", "target", "status"]
    assert [list(row) for row in rows] == [keys] * len(rows)
    lines = [
        (row["kind"], row["name"], f"{row['distribution']} {row['version']}", row["target"], row["status"])
        for row in rows
    ]
    assert [tuple("unknown" if cell == "None None" else cell for cell in line) for line in lines] == table(shown.stdout)
    assert answer.returncode == 1


def test_a_distribution_without_metadata_is_null(ward: Site) -> None:
    [row] = [row for row in json.loads(ward.headrace("plugins", "--json").stdout) if row["name"] == "nameless"]
    assert (row["distribution"], row["version"]) == (None, None)


# What is imported ---------------------------------------------------------------------------------------------------

IMPORTED = """
    import contextlib, io
    from headrace.cli import main
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        main({arguments}, standalone_mode=False)
    answer = ["good-dist" in shown.getvalue(), [name for name in {targets} if name in sys.modules]]
"""


def imported(site: Site, *arguments: str) -> set[str]:
    """Which modules of plugins, the strangers' and ours, are imported by the end of the command."""
    every = [line[3] for line in UNCHECKED] + [
        each.value for group in plugins.GROUPS.values() for each in importlib.metadata.entry_points(group=group)
    ]
    shown, found = site.run(IMPORTED.format(arguments=["plugins", *arguments], targets=every))
    assert shown
    return set(found)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_without_a_check_no_plugin_is_imported(ward: Site, options: list[str]) -> None:
    assert imported(ward, *options) == set()


def test_with_a_check_each_is_imported_but_those_that_nobody_could_choose(ward: Site) -> None:
    found = imported(ward, "--check")
    assert {"good_module", "raises_module", "profiles", "headrace_executors.thread"} <= found
    assert not {"first", "second", "shadow"} & found


# Exit status, and odd things ----------------------------------------------------------------------------------------


def test_where_all_are_sound_the_exit_status_is_0_and_the_profiles_that_ship_are_listed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.install("good-dist", {"good": GOOD}, "[headrace.executors]\ngood = good\n")
    for options, status in (["plugins"], "not checked"), (["plugins", "--check"], "ok"):
        answer = site.headrace(*options)
        lines = table(answer.stdout)
        assert (answer.returncode, answer.stderr, {line[4] for line in lines}) == (0, "", {status})
        assert strangers(lines) == [("executor", "good", "good-dist 1.0", "good", status)]
        version = importlib.metadata.version("headrace")
        assert [line for line in lines if line[0] == "profile"] == [
            ("profile", name, f"headrace {version}", "headrace.profiles", status) for name in sorted(profiles.SHIPPED)
        ]
    assert "No plugin was imported" not in answer.stdout


def test_a_watcher_with_the_name_of_another_is_no_silent_winner_either(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for name in ("one", "two"):
        site.install(f"{name}-dist", {name: HOOKS}, f"[headrace.hooks]\nwatch = {name}\n")
    said = (
        "2 hooks plugins are called 'watch': module 'one' of one-dist 1.0, and module 'two' of two-dist 1.0. "
        "Uninstall all but one of them"
    )
    answer = site.headrace("plugins")
    assert strangers(table(answer.stdout)) == [
        ("hooks", "watch", "one-dist 1.0", "one", said),
        ("hooks", "watch", "two-dist 1.0", "two", said),
    ]


def test_a_reason_of_many_lines_is_one_in_the_table_and_whole_in_json(tmp_path: Path) -> None:
    site = Site(tmp_path)
    source = "raise RuntimeError('first\\n  second \\x1b[31mred [bold]')"
    site.install("talks-dist", {"talks": source}, "[headrace.executors]\ntalks = talks\n")
    [line] = strangers(table(site.headrace("plugins", "--check").stdout))
    assert line[4] == r"cannot be imported: RuntimeError: first second \x1b[31mred [bold]"
    [row] = [row for row in json.loads(site.headrace("plugins", "--check", "--json").stdout) if row["name"] == "talks"]
    assert row["status"] == "cannot be imported: RuntimeError: first\n  second \x1b[31mred [bold]"


def test_ctrl_c_while_a_plugin_is_imported_ends_the_command(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.install("stops-dist", {"stops": "raise KeyboardInterrupt"}, "[headrace.executors]\nstops = stops\n")
    answer = site.headrace("plugins", "--check")
    assert (answer.returncode, answer.stdout, answer.stderr) == (130, "", "Interrupted.\n")


def test_wrong_use() -> None:
    answer = CliRunner().invoke(main, ["plugins", "thread"])
    assert answer.exit_code == 2
    assert "unexpected extra argument (thread)" in answer.output


def test_help_says_what_is_imported() -> None:
    answer = CliRunner().invoke(main, ["plugins", "--help"])
    assert answer.exit_code == 0
    for word in ("--json", "--check", "'not checked'", "Without --check no plugin is imported"):
        assert word in " ".join(answer.output.split())
