"""What a user declares: the operators of a pipeline. `checked` says early, and by name, what cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, TypedDict

from attrs import field, frozen

from headrace.batch import Setup
from headrace.errors import SettingsError, shorten
from headrace.settings import Rule, choice, did_you_mean, flag, function, number, or_none, seconds, text, whole_number

NO_FILL = object()
ON_ERROR = ("raise", "skip", "dead_letter")


def _tuple(errors: Any) -> tuple[Any, ...]:
    return errors if isinstance(errors, tuple) else (errors,)


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _fits_retries(value: Any) -> bool:
    return isinstance(value, Retry) or whole_number(at_least=0).fits(value)


def _fits_cap(value: Any) -> bool:
    return whole_number(at_least=0).fits(value) or (isinstance(value, float) and 0 <= value < 1)


def _setup(value: Any) -> Setup | None:
    return value if value is None or isinstance(value, Setup) else Setup(value)


def _is_setup(value: Any) -> bool:
    return isinstance(value, Setup) or callable(value)


@frozen
class Recycle:
    """When a worker process is replaced by a new one, between two batches: for functions that leak.

    items      after so many items of the operator
    rss_bytes  when it holds more resident memory than that (Linux)
    """

    items: int | None = field(default=None, validator=or_none(whole_number(at_least=1, of="items")))
    rss_bytes: int | None = field(default=None, validator=or_none(whole_number(at_least=1, of="bytes")))


@frozen(kw_only=True)
class Operator:
    """One step of a pipeline. What does not concern its kind keeps its default.

    name, kind       its name in the pipeline; "source", "map", "filter", "flat_map", "batch", "window", "take",
                     "reduce", "fold", "rate_limit", "merge", "zip" or "sink"
    inputs           names of the operators that it reads
    origin           of a source: an iterable, or a callable that makes one
    fn               of a map, filter, flat_map or sink: a function of one item
    parallel_degree  batches that may run at once; None: as many as the executor has workers
    executor         "auto" (the profile chooses), a plugin's name, a PluginRef, or an executor
    ordered          outputs in input order, or as they complete
    on_error         what becomes of an item that raised each time: "raise" ends the run, "skip" drops it with a
                     count, "dead_letter" sets it aside for the result
    retries          further attempts for an item that raised, or a Retry
    max_failures     most items that may fail in the end; a number below 1 is a share of those taken, which is held
                     against it from 100 items on, and at the end
    timeout_s        longest that an item may run before it fails
    awaits           whether `fn` is a coroutine function, or one that makes an asynchronous iterable
    setup            what a worker makes once, before its first item: a Setup, or a class or function that makes it
    recycle          when a worker process is replaced by a new one, or None
    idempotent       whether an item may run again whose worker process was lost; False: it fails instead
    dead_letters     the operator that gets what is set aside, by name; None: the result
    size, max_wait_s of a batch: members of a list; seconds after which a list goes as it is
    target           of a sink: an object with `open`, `write(items)` and `close`, in place of `fn`
    size, step       of a window: members of a list, and how far each begins behind the one before
    count            of a take: items
    initial          of a fold: the value that it begins with
    per_s, burst     of a rate_limit: items per second, and how many at once
    fill             of a zip: what stands for an item that is missing; NO_FILL: that is an error
    """

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    origin: Any = None
    fn: Callable[[Any], Any] | None = None
    parallel_degree: int | None = None
    awaits: bool = False
    executor: Any = "auto"
    ordered: bool = True
    on_error: str = "raise"
    retries: int | Retry = 0
    max_failures: float | None = None
    timeout_s: float | None = None
    setup: Setup | None = field(default=None, converter=_setup)
    recycle: Recycle | None = None
    idempotent: bool = True
    dead_letters: str | None = None
    size: int = 0
    max_wait_s: float | None = None
    step: int = 1
    target: Any = None
    count: int = 0
    initial: Any = None
    per_s: float = 0.0
    burst: int = 1
    fill: Any = NO_FILL


@frozen
class Retry:
    """How an item that raised is tried again.

    attempts   how often it is tried in all
    backoff_s  seconds before the second attempt, doubled before each further one; others go on meanwhile
    jitter     up to this share more, at random, so that what failed together does not come back together
    max_backoff_s  longest such pause
    on         the errors after which it is tried again; others are final
    """

    attempts: int = field(default=3, validator=whole_number(at_least=1, of="attempts"))
    backoff_s: float = field(default=0.0, validator=seconds())
    jitter: float = field(default=0.0, validator=number(at_least=0))
    max_backoff_s: float = field(default=60.0, validator=seconds())
    on: tuple[type[BaseException], ...] = field(default=(Exception,), converter=_tuple)

    def __attrs_post_init__(self) -> None:
        for each in self.on:
            Rule("a class of errors, or a tuple of them", _is_error).check("Retry.on", each)


class OperatorOptions(TypedDict, total=False):
    """What `map`, `filter` and `flat_map` take besides their function: see `Operator`."""

    parallel_degree: int | None
    executor: Any
    ordered: bool
    on_error: str
    retries: int | Retry
    max_failures: int | float | None
    timeout_s: float | None
    setup: Setup | Callable[[], Any] | None
    recycle: Recycle | None
    idempotent: bool
    dead_letters: str | None


_RULES: dict[str, Rule] = {
    "fn": function(of="a function of one item"),
    "parallel_degree": or_none(whole_number(at_least=1, of="batches at once")),
    "ordered": flag(),
    "on_error": choice(*ON_ERROR),
    "retries": Rule("a whole number of further attempts, at least 0, or a Retry", _fits_retries),
    "max_failures": or_none(Rule("a whole number of items, or a share of them below 1", _fits_cap)),
    "size": whole_number(at_least=1, of="items"),
    "max_wait_s": or_none(seconds(above=0)),
    "step": whole_number(at_least=1, of="items"),
    "count": whole_number(at_least=1, of="items"),
    "per_s": number(above=0, of="items per second"),
    "burst": whole_number(at_least=1, of="items"),
    "timeout_s": or_none(seconds(above=0)),
    "setup": or_none(Rule("a Setup, or a class or function that is called without arguments", _is_setup)),
    "recycle": or_none(Rule("a Recycle", lambda value: isinstance(value, Recycle))),
    "idempotent": flag(),
    "dead_letters": or_none(text(of="an operator's name")),
}


def checked(name: str, kind: str, inputs: tuple[str, ...], **options: Any) -> Operator:
    """An operator, or a SettingsError that names it and what is wrong with it."""
    text(of="an operator's name").check(f"{kind}.name", name)
    if options.get("setup") is not None and options.get("fn", name) is None:
        options = {option: value for option, value in options.items() if option != "fn"}  # the setup makes it
    for option, value in options.items():
        if option in _RULES:
            _RULES[option].check(f"{kind} '{name}': {option}", value)
    awaits = kind in _AWAIT and is_awaited(options.get("fn"), options.get("setup"))
    check_function(f"{kind} '{name}': fn", options.get("fn"), whole=kind not in ("filter", "sink"), kind=kind)
    _check_executor(name, kind, options.get("executor", "auto"))
    if awaits and hasattr(options.get("executor"), "open") and not getattr(options["executor"], "coroutines", False):
        raise SettingsError(
            f"{kind} '{name}': executor cannot run the coroutine function {shorten(options.get('fn'))}; got "
            f"{shorten(options['executor'])}, where 'auto' or 'coroutine' would do"
        )
    if options.get("dead_letters") is not None and options.get("on_error") != "dead_letter":
        raise SettingsError(
            f"{kind} '{name}': dead_letters={options['dead_letters']!r} needs on_error='dead_letter'; "
            f"got {options.get('on_error', 'raise')!r}"
        )
    return Operator(name=name, kind=kind, inputs=inputs, awaits=awaits, **options)


def name_of(fn: Any) -> str:
    """What to call an operator after its function."""
    try:
        name = fn.__name__
    except Exception:
        name = None
    return name if isinstance(name, str) and name else type(fn).__name__


def check_options(kind: str, name: str, options: Mapping[str, Any]) -> None:
    """Refuse what is no option of `map`, `filter` and `flat_map`, as Python does for an argument."""
    known = OperatorOptions.__annotations__
    for option in options:
        if option not in known:
            alias = {"max_workers": "parallel_degree", "workers": "parallel_degree"}.get(option)
            hint = f" Did you mean '{alias}'?" if alias else did_you_mean(option, known)
            raise TypeError(f"{kind} '{name}' has no option '{option}'.{hint}")


def _call_of(fn: Any) -> Any:
    return getattr(fn, "__call__", None)  # noqa: B004 - not a test for callability


_AWAIT = ("map", "filter", "flat_map", "sink")
"""The kinds of operators whose function may be a coroutine function."""


def is_awaited(fn: Any, setup: Any = None) -> bool:
    """Whether what the function of an operator gives has to be awaited, as far as can be told before it is called: it
    is a coroutine function or an asynchronous generator function, or an object or a class that is called like one; or
    what makes it is."""
    made = getattr(setup, "make", setup)
    return any(
        iscoroutinefunction(each) or isasyncgenfunction(each)
        for each in (fn, _call_of(fn), made, _call_of(made) if fn is None else None)
    )


def check_function(where: str, fn: Any, *, whole: bool = True, kind: str = "map") -> None:
    """Refuse a generator function, unless what it gives is wanted as a `whole`; an asynchronous one, unless it expands
    an item; and a coroutine function where none can be awaited."""
    if isasyncgenfunction(fn) and kind != "flat_map":
        raise SettingsError(
            f"{where} must be a plain function or a coroutine function; got the asynchronous generator function "
            f"{shorten(fn)}, which a flat_map can have"
        )
    if not whole and isgeneratorfunction(fn):
        raise SettingsError(
            f"{where} must be a plain function; got the generator function {shorten(fn)}, which runs nothing"
        )
    if kind not in _AWAIT and is_awaited(fn):
        raise SettingsError(
            f"{where} must be a plain function; got the coroutine function {shorten(fn)}, "
            "whose coroutines nothing would await"
        )


def _check_executor(name: str, kind: str, executor: Any) -> None:
    named = isinstance(executor, str) or (hasattr(executor, "name") and hasattr(executor, "settings"))
    if isinstance(executor, type):
        raise SettingsError(
            f"{kind} '{name}': executor must be an executor, not a class of them; "
            f"got {executor.__name__}. Did you mean {executor.__name__}()?"
        )
    if not named and not (_has(executor, "open", "close") or _has(executor, "submit", "shutdown")):
        raise SettingsError(
            f"{kind} '{name}': executor must be 'auto', the name of an executor plugin, a PluginRef, an executor with "
            f"`open` and `close`, or a concurrent.futures.Executor; got {shorten(executor)}"
        )


def _has(value: Any, *methods: str) -> bool:
    return all(callable(getattr(value, method, None)) for method in methods)
